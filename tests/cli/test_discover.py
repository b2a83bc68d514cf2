"""``peerfetch discover`` and ``pair``: from nothing but a network to a named device."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from peerfetch_fast.cli.discover import _pair_command
from peerfetch_fast.devices import Device
from peerfetch_fast.discovery import Found
from peerfetch_fast.errors import PeerUnavailable
from processes import environment, fetch, peerfetch, posix_only, start_proxy

pytestmark = posix_only


def command(directory: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "peerfetch_fast", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        env=environment(directory),
    )


def test_a_device_in_the_room_is_paired_and_fetched_from(tmp_path: Path, site: str) -> None:
    with (
        peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server,
        peerfetch(
            tmp_path,
            *("proxy", "--target", site, "--signaling", server.ready["signaling"]),
            *("--peer-id", "found-me", "--discoverable"),
        ),
    ):
        signaling = server.ready["signaling"]
        result = command(tmp_path, "discover", "--signaling", signaling, "--timeout", "0.1")
        told = result.stdout.decode()
        found = re.search(r"peerfetch pair NAME (.*found-me.*)", told)
        assert found is not None, (told, result.stderr)
        result = command(tmp_path, "pair", "garage-cam", *shlex.split(found[1]))
        assert result.returncode == 0, result.stderr
        assert fetch(tmp_path, "peer://garage-cam/status/200").stdout == b"the body"
        told = command(
            tmp_path, "discover", "--signaling", signaling, "--timeout", "0.1"
        ).stdout.decode()
        assert "paired as garage-cam" in told


def test_a_device_in_a_room_of_peernet(tmp_path: Path, site: str) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", "--peernet") as server:
        peernet = ("--signaling", server.ready["peernet"])
        arguments = ("proxy", "--target", site, *peernet, "--peer-id", "found-me")
        with peerfetch(tmp_path, *arguments, "--room", "den", "--room", "attic") as proxy:
            assert "den" not in proxy.output, "who gets the link need not know the room"
            for room, code in (("den", 0), ("elsewhere", 1)):
                result = command(tmp_path, "discover", *peernet, "--room", room, "--timeout", "0.1")
                assert result.returncode == code, result.stderr
                found = re.search(r"peerfetch pair NAME (.*found-me.*)", result.stdout.decode())
                assert (found is not None) is (code == 0)
                if found is not None:
                    paired = command(tmp_path, "pair", "garage-cam", *shlex.split(found[1]))
                    assert paired.returncode == 0, paired.stderr
            assert fetch(tmp_path, "peer://garage-cam/status/200").stdout == b"the body"
            listed = command(tmp_path, "devices", "--timeout", "0.1").stdout.decode()
            assert "does not answer" not in listed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--room", "den"), "--room is for PeerNet"),
        (("--room", "den", "--signaling", "ws://127.0.0.1:9"), "--room is for PeerNet"),
        (("--room", "A B", "--signaling", "peernet+http://127.0.0.1:9"), "no room"),
    ],
)
def test_rooms_that_make_no_sense(arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(main, ["discover", *arguments])
    assert result.exit_code == 2
    assert words in result.output


def test_a_device_that_does_not_want_to_be_found(tmp_path: Path, site: str) -> None:
    with start_proxy(tmp_path, site, "auto", "--peer-id", "hidden") as proxy:
        signaling = proxy.ready["signaling"]
        result = command(tmp_path, "discover", "--signaling", signaling, "--timeout", "0.1")
        assert b"hidden" not in result.stdout


def test_a_signaling_server_that_is_not_there(tmp_path: Path) -> None:
    result = command(tmp_path, "discover", "--signaling", "ws://127.0.0.1:1", "--timeout", "0.1")
    assert b"cannot be reached" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Garage Cam", "peer://x"], "small letters"),
        (["cam", "peer://a.b"], "peer://PEER-ID"),
        (["cam", "peer://x/path"], "peer://PEER-ID"),
        (["cam", "peer://x#sha256:0"], "pin"),
    ],
)
def test_what_cannot_be_paired_is_refused_and_not_kept(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = CliRunner().invoke(
        main, ["pair", *arguments], env={"PEERFETCH_STATE_DIR": str(tmp_path)}
    )
    assert result.exit_code == 2
    assert says in result.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_told_to_be_typed_is_harmless() -> None:
    found = Found("x", "device", "ws://h/;$(reboot)`reboot`", None)
    assert shlex.split(_pair_command(found))[3:] == [
        "peer://device/",
        "--signaling",
        "ws://h/;$(reboot)`reboot`",
    ]


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        (("--signaling", "ws://given"), ["ws://given"]),
        (("--rendezvous", "meet.example"), ["wss://meet.example"]),
        ((), ["wss://configured.example", "ws://near", "ws://nearer", "ws://127.0.0.1:9000"]),
    ],
)
def test_where_a_code_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...], asked: list[str]
) -> None:
    """Said on the command line, there alone; else at what is configured, near by, and here."""
    places: list[str] = []

    async def nobody(code: object, place: str, certificate: object) -> Device:
        places.append(place)
        raise PeerUnavailable(f"nobody is at {place}")

    async def near(seconds: float) -> list[Found]:
        return [Found("cam", "cam", f"ws://{place}", None) for place in ("near", "nearer", "near")]

    monkeypatch.setattr("peerfetch_fast.pairing.pair", nobody)
    monkeypatch.setattr("peerfetch_fast.cli.meeting.browse", near)
    state = {"PEERFETCH_STATE_DIR": str(tmp_path), "PEERFETCH_RENDEZVOUS": "configured.example"}
    arguments = ["pair", "cam", "123-able-boat", *told]
    done = CliRunner(env=state).invoke(main, arguments)
    assert done.exit_code != 0
    assert places == asked
    assert asked[0] in str(done.output)
