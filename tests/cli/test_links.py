"""The links that commands print: whom they lead to a device, and who can open them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from peerfetch_fast import interfaces
from peerfetch_fast.cli import links
from peerfetch_fast.interfaces import lan_address
from peerfetch_fast.web.page_link import qr_code
from processes import peerfetch, posix_only

PEER = f"dev1#sha256:{'0' * 64}"


def linked(output: str) -> str:
    found = re.search(r"^link +(\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


@posix_only
def test_a_link_that_only_this_machine_can_open_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    options = ("proxy", "--serve", tmp_path / "files", "--listen", "127.0.0.1:0")
    with peerfetch(tmp_path, *options) as proxy:
        port = proxy.ready["signaling"].rpartition(":")[2]
        assert linked(proxy.output).startswith(f"http://127.0.0.1:{port}/#")
        told = f"--listen 0.0.0.0:{port} would let others." if lan_address() else "no address"
        assert "Only a browser on this machine can open it: " in proxy.output
        assert told in proxy.output


@posix_only
@pytest.mark.skipif(lan_address() is None, reason="this machine is in no network")
def test_a_link_names_an_address_that_a_phone_can_reach(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    options = ("proxy", "--serve", tmp_path / "files", "--listen", "0.0.0.0:0")
    with peerfetch(tmp_path, *options) as proxy:
        port = proxy.ready["signaling"].rpartition(":")[2]
        assert linked(proxy.output).startswith(f"http://{lan_address()}:{port}/#")
        assert "Only a browser" not in proxy.output


@posix_only
def test_a_proxy_that_joins_a_server_prints_the_link_to_its_page(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "device").mkdir()
    # By the address that others reach it by, where there is one, though the proxy names loopback.
    with peerfetch(tmp_path, "signal", "--listen", "0.0.0.0:0") as signal:
        port = signal.ready["signaling"].rpartition(":")[2]
        options = ("--signaling", f"ws://127.0.0.1:{port}")
        with peerfetch(
            tmp_path / "device", "proxy", "--serve", tmp_path / "files", *options
        ) as proxy:
            link = linked(proxy.output)
            peer = f"{proxy.ready['peer_id']}#{proxy.ready['fingerprint']}"
            assert link == f"http://{lan_address() or '127.0.0.1'}:{port}/#{peer}"


@posix_only
def test_where_there_is_no_page_there_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "device").mkdir()
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", "--path", "/own") as signal:
        options = ("--signaling", signal.ready["signaling"])
        with peerfetch(
            tmp_path / "device", "proxy", "--serve", tmp_path / "files", *options
        ) as proxy:
            assert "link " not in proxy.output


async def test_a_code_is_shown_of_what_a_phone_can_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    await links.tell_link("link ", "ws://192.168.1.20:9000", PEER, listen=None)
    link = f"http://192.168.1.20:9000/#{PEER}"
    assert capsys.readouterr().out == f"link {link}\n{qr_code(link)}\n"
    await links.tell_link("link ", "wss://home.example", PEER, listen=None)
    assert capsys.readouterr().out.startswith(f"link https://home.example/#{PEER}\n")
    for url in ("ws://127.0.0.1:9000", "ws://[::1]:9000", "ws://localhost:9000"):
        await links.tell_link("link ", url, PEER, listen="--listen 0.0.0.0:9000")
        first, *more = capsys.readouterr().out.splitlines()
        assert first == f"link {url.replace('ws:', 'http:')}/#{PEER}"
        # A code that leads a phone to itself would be worse than none.
        assert len(more) == 1
        assert "Only a browser on this machine" in more[0]


async def test_a_machine_without_a_network_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "lan_address", lambda: None)
    await links.tell_link("link ", "ws://127.0.0.1:9000", PEER, listen=None)
    assert "this machine has no address in a network" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sources", "found", "expected"),
    [
        (["192.168.1.20"], ["172.17.0.1", "192.168.1.20"], "192.168.1.20"),
        ([], ["172.17.0.1"], "172.17.0.1"),
        (["2001:db8::2"], ["2001:db8::2", "10.0.0.2"], "10.0.0.2"),
        (["2001:db8::2"], ["2001:db8::2"], "2001:db8::2"),
        ([], ["fe80::1%eth0"], None),
        ([], ["127.0.0.1"], None),
    ],
)
def test_the_address_for_others(
    monkeypatch: pytest.MonkeyPatch, sources: list[str], found: list[str], expected: str | None
) -> None:
    monkeypatch.setattr(interfaces, "source_addresses", lambda: frozenset(sources))
    monkeypatch.setattr(interfaces, "host_addresses", lambda: found)
    assert lan_address() == expected
