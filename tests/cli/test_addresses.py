"""Addresses to listen on: what is one, and what is said of those that cannot be had."""

from __future__ import annotations

import errno
import socket

import click
import pytest

from peerfetch_fast.cli.addresses import ListenAddress, port_in_words


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:9000", ("0.0.0.0", 9000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_is_read_as_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert ListenAddress().convert(text, None, None) == address


def test_an_address_that_was_read_before_is_taken_as_it_is() -> None:
    assert ListenAddress().convert(("::1", 80), None, None) == ("::1", 80)


@pytest.mark.parametrize("text", ["", "9000", ":9000", "host", "host:", "h:65536", "h:1/x", "[::1"])
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"write HOST:PORT, as in 0\.0\.0\.0:9000"):
        ListenAddress().convert(text, None, None)


def test_a_port_that_is_taken_is_said_to_be_with_the_option_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as another:
        port = taken.getsockname()[1]
        with (
            pytest.raises(click.ClickException, match=f"port {port} .*another program.*--port"),
            port_in_words(port, "--port"),
        ):
            another.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(errno.EACCES, "x"), "only root may"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "Cannot assign requested address"),
        (OSError("could not resolve"), "could not resolve"),
    ],
)
def test_other_reasons_of_the_system_are_said_in_words(error: OSError, why: str) -> None:
    with pytest.raises(click.ClickException, match=why), port_in_words(80, "--port"):
        raise error
