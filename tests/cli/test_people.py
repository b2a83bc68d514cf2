"""``peerfetch invite``, ``people`` and ``pair`` with a code, beside a running proxy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerfetch_fast.devices import load_devices
from peerfetch_fast.people import People, Person
from processes import Process, environment, fetch, posix_only, start_proxy

pytestmark = posix_only

TIMEOUT = 120


def begin(directory: Path, *arguments: object, typing: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "peerfetch_fast", *map(str, arguments)],
        stdin=subprocess.PIPE if typing else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(directory),
    )


def command(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    process = begin(directory, *arguments)
    out, err = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def invited(tmp_path: Path, proxy: Process) -> Iterator[subprocess.Popen[str]]:
    process = begin(tmp_path, "invite", "anna", "--json", "--paths", "/echo")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def proxy(tmp_path: Path, site: str) -> Iterator[Process]:
    with start_proxy(tmp_path, site, "auto", "--people-only") as process:
        yield process


def test_from_the_invitation_to_the_door(
    tmp_path: Path, proxy: Process, invited: subprocess.Popen[str]
) -> None:
    """What the proxy, the one who invites and the one who is invited do, each by its command."""
    hers = tmp_path / "hers"
    hers.mkdir()
    assert invited.stdout is not None
    made = json.loads(invited.stdout.readline())
    assert made["signaling"] == proxy.ready["signaling"]
    signaling = ("--signaling", made["signaling"])
    done = command(hers, "pair", "cam", made["code"], *signaling)
    assert done.returncode == 0, done.stderr
    assert json.loads(invited.stdout.readline()) == {"name": "anna", "let_in": True}
    assert invited.wait(TIMEOUT) == 0
    (device,) = load_devices(hers / "state").values()
    assert device.peer_id == proxy.ready["peer_id"]
    assert device.pin == proxy.ready["fingerprint"]

    (row,) = json.loads(command(tmp_path, "people", "--json").stdout)
    assert (row["name"], row["paths"], row["devices"]) == ("anna", ["/echo"], 1)
    assert command(hers, "fetch", "-f", "peer://cam/echo").returncode == 0
    assert command(hers, "fetch", "-f", "peer://cam/other").returncode == 22

    assert command(tmp_path, "people", "revoke", "anna").returncode == 0
    refused = command(hers, "fetch", "-f", "peer://cam/echo")
    assert refused.returncode in (22, 67), refused.stderr


def test_the_log_says_that_somebody_wants_in_and_how_that_is_done(
    tmp_path: Path, proxy: Process
) -> None:
    (tmp_path / "his").mkdir()
    done = fetch(
        tmp_path / "his",
        f"peer://{proxy.ready['peer_id']}/echo",
        *("--signaling", proxy.ready["signaling"], "--fail"),
    )
    assert done.returncode == 22
    assert "not invited, and wants in: peerfetch invite NAME" in proxy.output


def test_by_digits(tmp_path: Path, proxy: Process) -> None:
    """They are shown once somebody has tapped the device, or named it to the command."""
    hers = tmp_path / "hers"
    hers.mkdir()
    waiting = begin(tmp_path, "invite", "anna", "--wait", "--json")
    try:
        assert waiting.stdout is not None
        told = json.loads(waiting.stdout.readline())
        seen = command(hers, "discover", "--signaling", told["signaling"], "--timeout", 0.1)
        assert "which waits for you" in seen.stdout, seen.stderr
        assert told["waits_as"] in seen.stdout
        link = f"peer://{told['waits_as']}/"
        pairing = begin(hers, "pair", "cam", link, "--signaling", told["signaling"], typing=True)
        shown = json.loads(waiting.stdout.readline())
        _, err = pairing.communicate(f"12\n{shown['digits']}\n", timeout=TIMEOUT)
        assert pairing.returncode == 0, err
        assert "not the 6 digits" in err  # which was no guess
        assert json.loads(waiting.stdout.readline()) == {"name": "anna", "let_in": True}
    finally:
        waiting.kill()
        waiting.communicate()
    assert command(hers, "fetch", "-f", "peer://cam/echo").returncode == 0


def test_a_word_that_is_none_costs_nothing(tmp_path: Path) -> None:
    done = command(tmp_path, "pair", "cam", "123-able-zzzz", "--signaling", "ws://127.0.0.1:1")
    assert done.returncode == 2
    assert "zzzz" in done.stderr


def test_changes(tmp_path: Path) -> None:
    people = People(tmp_path / "state")
    people.add(Person("anna", (bytes(32),)))
    for arguments, may in (
        (("limit", "anna", "--paths", "/cam", "--read-only"), "may read /cam"),
        (("limit", "anna", "--until", "2999-01-01"), "may read /cam until 2999-01-01"),
        (("limit", "anna", "--all", "--read-write", "--forever"), "may use everything"),
        (("rename", "anna", "anne"), "anne from now on"),
    ):
        done = command(tmp_path, "people", *arguments)
        assert may in done.stdout.replace("anna is ", ""), done.stderr
    assert people.all() == {"anne": Person("anne", (bytes(32),))}
    for arguments in (("revoke", "anna"), ("rename", "eve", "anna"), ("limit", "eve")):
        failed = command(tmp_path, "people", *arguments)
        assert failed.returncode == 2
        assert "nobody is let in" in failed.stderr


def test_by_the_link(tmp_path: Path, invited: subprocess.Popen[str]) -> None:
    """It names the signaling server, and works after the command that made it has ended."""
    assert invited.stdout is not None
    link = json.loads(invited.stdout.readline())["link"]
    invited.terminate()
    assert invited.wait(TIMEOUT) == 0
    for browser in ("one", "another"):
        hers = tmp_path / browser
        hers.mkdir()
        done = command(hers, "pair", "cam", link)
        assert done.returncode == 0, done.stderr
        assert command(hers, "fetch", "-f", "peer://cam/echo").returncode == 0
    (row,) = json.loads(command(tmp_path, "people", "--json").stdout)
    assert row["devices"] == 2
