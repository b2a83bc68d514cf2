"""The options that several commands have in common."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from peerfetch_fast.cli.options import given, ice_server_option, signaling_option
from peerfetch_fast.webrtc.ice.gathering import IceServer


@click.command()
@signaling_option(default="ws://127.0.0.1:9000")
@ice_server_option
def command(ice_servers: tuple[IceServer, ...], signaling: str) -> None:
    for server in ice_servers:
        click.echo(f"{server.urls} {server.username} {server.credential}")
    click.echo(f"{signaling} {given('signaling')}")


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(command, arguments, env={"PEERFETCH_SIGNALING": None} | environment)


def test_an_ice_server_is_read_with_its_login() -> None:
    told = run("--ice-server", "stun:a:1", "--ice-server", "turn:b:2,user,a,b").stdout
    assert told.splitlines()[:2] == ["stun:a:1 None None", "turn:b:2 user a,b"]


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("http://x", "write stun:HOST:PORT or turn:HOST:PORT"),
        ("turn:x:1", "write turn:HOST:PORT,USERNAME,CREDENTIAL"),
        ("turns:x:1,user", "write turn:HOST:PORT,USERNAME,CREDENTIAL"),
    ],
)
def test_what_is_no_ice_server_is_refused_with_the_form_of_one(server: str, says: str) -> None:
    result = run("--ice-server", server)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_default_is_not_given_and_the_environment_is() -> None:
    assert run().stdout == "ws://127.0.0.1:9000 False\n"
    assert run("--signaling", "ws://x:1").stdout == "ws://x:1 True\n"
    assert run(PEERFETCH_SIGNALING="ws://x:1").stdout == "ws://x:1 True\n"


def test_a_rendezvous_server_is_its_signaling_and_whichever_was_said_where_it_counts_more() -> None:
    named = ("--rendezvous", "Meet.example:8443")
    assert run(*named).stdout == "wss://meet.example:8443 True\n"
    # Of the environment it is no more than a default: a paired device has its own.
    told = {"PEERFETCH_RENDEZVOUS": "meet.example"}
    assert run(**told).stdout == "wss://meet.example False\n"
    assert run(**told, PEERFETCH_SIGNALING="ws://x:1").stdout == "ws://x:1 True\n"
    assert run(*named, PEERFETCH_SIGNALING="ws://x:1").stdout == "wss://meet.example:8443 True\n"
    assert "exclude each other" in run(*named, "--signaling", "ws://x:1").stderr
    assert "write its name" in run("--rendezvous", "wss://meet.example").stderr
