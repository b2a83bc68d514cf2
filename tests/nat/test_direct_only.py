"""``--direct-only``: a peer or nothing, whichever side asks for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.nat.network import Network
from tests.nat.scene import ours
from tests.nat.test_nat import ICE_SERVERS, ways

from processes import Process, environment, require_transport


@contextlib.contextmanager
def device(homes: Network, signaling: str, directory: Path, *options: str) -> Iterator[Process]:
    require_transport("native")
    directory.mkdir()
    with (
        ours(homes, "device", directory, "peerfetch_fast.cli.demo_server", "--size", 1) as web,
        ours(
            *(homes, "device", directory, "peerfetch_fast.proxy", "--target", web.ready["url"]),
            *("--signaling", signaling, "--log-level", "info", *ICE_SERVERS, *options),
        ) as proxy,
    ):
        yield proxy


def fetch(
    homes: Network, proxy: Process, signaling: str, directory: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(*homes.inside("phone"), sys.executable, "-m", "peerfetch_fast", "fetch"),
            *(f"peer://{proxy.ready['peer_id']}/api/media", "--signaling", signaling, "--fail"),
            *("--log-level", "info", *ICE_SERVERS, *options),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(directory),
    )


@pytest.mark.parametrize("who", ["the device", "the client"])
def test_where_no_hole_can_be_punched_there_is_no_connection(
    homes: Network, turn: None, signaling: str, tmp_path: Path, who: str
) -> None:
    homes.translate("another port for each")
    theirs, own = (("--direct-only",), ()) if who == "the device" else ((), ("--direct-only",))
    with device(homes, signaling, tmp_path / "device", *theirs) as proxy:
        done = fetch(homes, proxy, signaling, tmp_path, *own)
        assert done.returncode == 7, done.stderr
        assert not ways(done.stderr)
        if who == "the client":
            assert "relays were left out, as direct_only asks" in done.stderr
        # The same two connect through a relay if they may.
        with device(homes, signaling, tmp_path / "another") as other:
            done = fetch(homes, other, signaling, tmp_path)
            assert done.returncode == 0, done.stderr


def test_a_direct_way_is_taken(homes: Network, turn: None, signaling: str, tmp_path: Path) -> None:
    homes.translate("one port for all")
    with device(homes, signaling, tmp_path / "device", "--direct-only") as proxy:
        done = fetch(homes, proxy, signaling, tmp_path, "--direct-only")
    assert done.returncode == 0, done.stderr
    ((ours_is, theirs_is, _),) = ways(done.stderr)
    assert "relay" not in (ours_is, theirs_is)


@pytest.mark.parametrize("who", ["the sender", "the receiver"])
def test_a_share_is_received_directly_or_not_at_all(
    homes: Network, turn: None, signaling: str, tmp_path: Path, who: str
) -> None:
    require_transport("native")
    homes.translate("another port for each")
    file = tmp_path / "file"
    file.write_bytes(b"f" * 1000)
    theirs, own = (("--direct-only",), ()) if who == "the sender" else ((), ("--direct-only",))

    def get(link: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(*homes.inside("phone"), sys.executable, "-m", "peerfetch_fast", "get", link),
                *("--yes", "--output", tmp_path / "got", *ICE_SERVERS, *options),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(tmp_path),
        )

    def share(directory: Path, *options: str) -> contextlib.AbstractContextManager[Process]:
        directory.mkdir()
        return ours(
            *(homes, "device", directory, "peerfetch_fast", "share", file),
            *("--signaling", signaling, *ICE_SERVERS, *options),
        )

    with share(tmp_path / "sender", *theirs) as sender:
        done = get(sender.ready["link"], *own)
        assert done.returncode == 7, done.stderr
        if who == "the receiver":
            assert "relays were left out, as direct_only asks" in done.stderr
    assert not (tmp_path / "got").exists()
    # The same two connect through a relay if they may.
    with share(tmp_path / "another") as other:
        done = get(other.ready["link"])
    assert (tmp_path / "got" / "file").read_bytes() == b"f" * 1000, done.stderr
