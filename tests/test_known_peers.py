"""The file of known peers, and pins on real connections."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import stat
import sys
from pathlib import Path

import pytest

from peerfetch_fast import connect, serve
from peerfetch_fast.errors import IdentityChanged, InvalidPin, PeerfetchError
from peerfetch_fast.identity import certificate_pin, format_pin
from peerfetch_fast.known_peers import MAX_FILE, KnownPeers, Pin, trust
from peerfetch_fast.state import load_certificate, state_directory
from peerfetch_fast.webrtc.certificate import generate_certificate
from processes import TRANSPORTS, require_transport
from test_peer import World, signaling_server, world

ONE, OTHER = bytes(32), bytes([255]) * 32

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


def test_the_first_use_is_remembered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "very" / "deep" / "known_peers"
    with caplog.at_level(logging.INFO):
        KnownPeers(path).check("device", ONE)
    assert caplog.messages == [f"device is known as {format_pin(ONE)} from now on"]
    assert path.read_text() == f"{format_pin(ONE)} device\n"
    KnownPeers(path).check("device", ONE)
    KnownPeers(path).check("another device", OTHER)
    assert path.read_text() == f"{format_pin(ONE)} device\n{format_pin(OTHER)} another device\n"
    with pytest.raises(IdentityChanged, match=f"remove line 2 of {path}"):
        KnownPeers(path).check("another device", ONE)
    assert path.read_text().count("\n") == 2


@posix_only
def test_only_the_owner_may_write_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "known_peers"
    KnownPeers(path).check("device", ONE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o620)
    with pytest.raises(PeerfetchError, match="chmod 600"):
        KnownPeers(path).check("device", ONE)


def test_a_certificate_that_does_not_last_is_checked_and_not_remembered(tmp_path: Path) -> None:
    known = KnownPeers(tmp_path / "known_peers")
    known.check("device", ONE, lasting=False)
    known.check("device", OTHER)
    with pytest.raises(IdentityChanged):
        known.check("device", ONE, lasting=False)


def test_it_may_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "known_peers"
    capitals = format_pin(OTHER).upper()
    path.write_text(f"# mine\n\n{capitals}   device")
    path.chmod(0o600)
    KnownPeers(path).check("device", OTHER)
    KnownPeers(path).check("second", ONE)
    assert path.read_text() == f"# mine\n\n{capitals}   device\n{format_pin(ONE)} second\n"


@pytest.mark.parametrize("line", ["device", "sha256:00 device", "device sha256:00", "\ufffd"])
def test_a_broken_line_lets_nobody_in(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known_peers"
    path.write_text(f"{format_pin(ONE)} other\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(PeerfetchError, match="line 2 of"):
        KnownPeers(path).check("device", ONE)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "known_peers").mkdir()
    with pytest.raises(PeerfetchError, match="cannot read"):
        KnownPeers(tmp_path / "known_peers").check("device", ONE)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (5 << 20))
    large.chmod(0o600)
    with pytest.raises(PeerfetchError, match="larger than"):
        KnownPeers(large).check("device", ONE)


def test_a_directory_that_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    known = KnownPeers(tmp_path / "known_peers")
    (tmp_path / "known_peers.lock").mkdir()
    with caplog.at_level(logging.WARNING):
        known.check("device", ONE)
    (message,) = caplog.messages
    assert message.startswith("the certificate of device cannot be remembered in ")


def test_a_file_of_the_largest_size_is_read_and_what_is_no_text_lets_nobody_in(
    tmp_path: Path,
) -> None:
    path = tmp_path / "known_peers"
    path.write_bytes(b"#" * (MAX_FILE - 1) + b"\n")
    path.chmod(0o600)
    assert KnownPeers(path).peers() == {}
    path.write_bytes(b"\xff\n")
    with pytest.raises(PeerfetchError, match="line 1 of"):
        KnownPeers(path).check("device", ONE)


def test_peers_are_kept_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path))
    trust(None, None).check("device", ONE)
    assert (tmp_path / "known_peers").exists()


def _add(path: Path, number: int) -> None:
    for i in range(10):
        KnownPeers(path).check(f"device-{number}-{i}", ONE)
        with contextlib.suppress(IdentityChanged):
            KnownPeers(path).check(f"contested-{i}", bytes([number]) * 32)


@posix_only
def test_several_processes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "known_peers"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    names = sorted(line.split()[1] for line in path.read_text().splitlines())
    # Each once, also those for which the processes have different fingerprints.
    assert names == sorted(
        [f"device-{number}-{i}" for number in range(3) for i in range(10)]
        + [f"contested-{i}" for i in range(10)]
    )
    assert {file.name for file in tmp_path.iterdir()} == {"known_peers", "known_peers.lock"}


def test_a_pin_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "known_peers"
    given = trust(format_pin(ONE), path)
    given.check("device", ONE)
    with pytest.raises(IdentityChanged, match="compare"):
        given.check("device", OTHER)
    assert not path.exists()
    with pytest.raises(InvalidPin):
        Pin("nonsense")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_pins_on_a_connection(transport: str, tmp_path: Path) -> None:
    require_transport(transport)
    known = tmp_path / "known_peers"

    async def check(there: World) -> None:
        options = {"transport": transport, "known_peers": known}
        pin = there.server.fingerprint
        async with there.connect(**options) as peer:
            assert peer.fingerprint == pin
            [other] = there.server.peers
            assert other.fingerprint == certificate_pin(load_certificate(state_directory()))
        assert known.read_text() == f"{pin} {there.server.peer_id}\n"
        async with there.connect(**options, pin=pin) as peer:
            assert (await peer.fetch("/")).ok
        async with connect(there.server.url, signaling=there.signaling, **options) as peer:
            assert (await peer.fetch("/")).ok
        with pytest.raises(IdentityChanged):
            await there.connect(**options, pin=format_pin(ONE))
        known.write_text(f"{format_pin(ONE)} {there.server.peer_id}\n")
        with pytest.raises(IdentityChanged, match="remove line 1"):
            await there.connect(**options)
        with pytest.raises(InvalidPin):
            there.connect(**options, pin="x")

    async with world() as there:
        await check(there)


async def test_a_device_with_a_new_certificate_is_refused(tmp_path: Path) -> None:
    async with signaling_server() as signaling:
        for first in (True, False):
            server = await serve(
                "http://127.0.0.1:9",
                signaling=signaling,
                peer_id="device",
                certificate=generate_certificate(),
            )
            async with server:
                connecting = connect(
                    "device", signaling=signaling, known_peers=tmp_path / "known_peers"
                )
                if first:
                    await (await connecting).abort()
                else:
                    with pytest.raises(IdentityChanged, match="has changed from"):
                        await connecting
