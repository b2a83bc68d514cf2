"""``peerfetch devices``, and what ``pair`` does about a name that is taken."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from peerfetch_fast.devices import Device, load_devices, save_device
from processes import environment, peerfetch, posix_only

pytestmark = posix_only

PIN, OTHER = "sha256:" + "0a" * 32, "sha256:" + "0b" * 32
ONE, TWO = Device("one", "ws://127.0.0.1:1", PIN), Device("two", "ws://127.0.0.1:1")


def command(
    directory: Path, *arguments: object, typed: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``peerfetch``; with ``typed``, standard input is a terminal where that is typed."""
    stdin = subprocess.DEVNULL
    if typed is not None:
        ours, stdin = pty.openpty()
        os.write(ours, typed.encode())
    try:
        return subprocess.run(
            [sys.executable, "-m", "peerfetch_fast", *map(str, arguments)],
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment(directory),
        )
    finally:
        if typed is not None:
            os.close(ours)
            os.close(stdin)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with two paired devices, and two known ones of which one is paired."""
    directory = tmp_path / "state"
    save_device(directory, "cam", ONE)
    save_device(directory, "door", TWO)
    known = directory / "known_peers"
    known.write_text(f"# mine\n{PIN} two\n\n{OTHER} three\n")
    known.chmod(0o600)
    return directory


def listed(directory: Path, *arguments: object) -> dict[str, tuple[str | None, ...]]:
    done = command(directory, "devices", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {
        row["peer_id"]: (row["name"], row["kept"], row["pin"], row["state"])
        for row in json.loads(done.stdout)
    }


def test_nothing_is_there(tmp_path: Path) -> None:
    done = command(tmp_path, "devices")
    assert done.returncode == 0
    assert "No device is paired or known" in done.stdout
    assert listed(tmp_path) == {}


def test_what_is_paired_and_known_is_listed(tmp_path: Path, state: Path) -> None:
    assert listed(tmp_path, "--timeout", 0) == {
        "one": ("cam", "paired", PIN, "not seen"),
        "two": ("door", "paired", PIN, "not seen"),
        "three": (None, "known", OTHER, "not seen"),
    }
    told = command(tmp_path, "devices", "--timeout", 0).stdout
    for word in ("cam", "door", "(no name)", "one", "two", "three", PIN, OTHER):
        assert word in told


def test_devices_are_listed_as_online_not_seen_or_not_known(tmp_path: Path, state: Path) -> None:
    with (
        peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server,
        peerfetch(
            tmp_path,
            *("proxy", "--tcp", "x=127.0.0.1:9", "--signaling", server.ready["signaling"]),
            *("--peer-id", "here", "--discoverable"),
        ),
    ):
        save_device(state, "here", Device("here", server.ready["signaling"]))
        save_device(state, "gone", Device("gone", server.ready["signaling"]))
        found = {peer_id: about[3] for peer_id, about in listed(tmp_path).items()}
    assert str(found["here"]).startswith("online ")
    assert found["gone"] == "not seen"
    assert found["one"] == "its signaling server does not answer"


def test_devices_are_renamed_and_removed(tmp_path: Path, state: Path) -> None:
    assert command(tmp_path, "devices", "rename", "cam", "garage").returncode == 0
    assert load_devices(state) == {"garage": ONE, "door": TWO}
    assert command(tmp_path, "devices", "remove", "garage").returncode == 0
    assert load_devices(state) == {"door": TWO}
    assert command(tmp_path, "devices", "remove", "three").returncode == 0
    assert (state / "known_peers").read_text() == f"# mine\n{PIN} two\n\n"
    for arguments, says in (
        (("rename", "none", "x"), "no device is paired as 'none'"),
        (("rename", "door", "No Name"), "small letters"),
        (("remove", "none"), "nothing is paired or known as 'none'"),
    ):
        done = command(tmp_path, "devices", *arguments)
        assert done.returncode == 2
        assert says in done.stderr
    assert load_devices(state) == {"door": TWO}


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "rename", "door", "cam"),
        ("pair", "cam", "peer://two", "--signaling", TWO.signaling),
    ],
    ids=lambda found: found[0],
)
def test_a_name_that_is_taken(tmp_path: Path, state: Path, arguments: tuple[str, ...]) -> None:
    before = load_devices(state)
    done = command(tmp_path, *arguments)
    assert done.returncode == 2
    assert "cam is the name of one: give --replace" in done.stderr
    assert load_devices(state) == before
    done = command(tmp_path, *arguments, typed="n\n")
    assert done.returncode == 1
    assert "Take it from that device?" in done.stderr
    assert load_devices(state) == before
    done = command(tmp_path, *arguments, typed="y\n")
    assert done.returncode == 0, done.stderr
    assert load_devices(state)["cam"] == TWO
    save_device(state, "cam", ONE)
    save_device(state, "door", TWO)
    assert command(tmp_path, *arguments, "--replace").returncode == 0
    assert load_devices(state)["cam"] == TWO
    # The same once more replaces nothing.
    if arguments[0] == "pair":
        assert command(tmp_path, *arguments).returncode == 0
