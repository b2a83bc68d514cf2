"""The reference pairs under examples/peernet, run as programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from processes import environment, peerfetch, posix_only

pytestmark = posix_only

if sys.platform != "win32":
    from resource import RLIMIT_FSIZE, setrlimit

EXAMPLES = Path(__file__).parents[2] / "examples" / "peernet"
PICTURE = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture
def signaling(tmp_path: Path) -> Iterator[str]:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", "--peernet") as server:
        yield server.ready["peernet"]


@contextlib.contextmanager
def running(tmp_path: Path, name: str, *arguments: object) -> Iterator[str]:
    """The URL of a server example while it runs."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment(tmp_path), text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def client(tmp_path: Path, name: str, *arguments: object, disk: int | None = None) -> str:
    """What a client example says; with ``disk``, it may write no file of more bytes, and fails."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(tmp_path),
        preexec_fn=None if disk is None else partial(setrlimit, RLIMIT_FSIZE, (disk, disk)),
    )
    assert (done.returncode == 0) == (disk is None), done.stdout + done.stderr
    return done.stdout


def test_each_program_is_of_a_size_to_be_read() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert 50 <= len(path.read_text().splitlines()) <= 150, path.name


def test_sensors(tmp_path: Path, signaling: str) -> None:
    file = tmp_path / "reading"
    file.write_text("21.5 40\n")
    where = ("--signaling", f"{signaling}?room=den")
    with (
        running(tmp_path, "file_server.py", tmp_path, *where),  # which the client passes by
        running(tmp_path, "sensor_server.py", file, *where, "--interval", "0.1"),
    ):
        told = client(tmp_path, "sensor_client.py", *where, "--count", "3")
    assert told == "temperature 21.5 Cel  humidity 40.0 %\n" * 4


def test_cameras(tmp_path: Path, signaling: str) -> None:
    seen, kept = tmp_path / "seen", tmp_path / "kept"
    seen.mkdir()
    kept.mkdir()
    (seen / "0001.jpg").write_bytes(PICTURE)
    (seen / "0002.jpg").write_bytes(PICTURE[:-1])  # which is being written
    where = ("--signaling", f"{signaling}?room=den")
    with running(tmp_path, "camera_server.py", seen, *where) as url:
        client(tmp_path, "camera_client.py", kept, *where, "--peer", url, "--count", "1")
    assert (kept / "snapshot.jpg").read_bytes() == (kept / "0001.jpg").read_bytes() == PICTURE


def test_files_are_gone_on_with_where_the_disk_was_full(tmp_path: Path, signaling: str) -> None:
    footage, file = tmp_path / "footage", tmp_path / "front.mp4"
    part = tmp_path / "front.mp4.part"
    footage.mkdir()
    content = os.urandom(1_000_000)
    (footage / "front.mp4").write_bytes(content)
    asked = ("/front.mp4", file, "--signaling", f"{signaling}?room=den")
    with running(tmp_path, "file_server.py", footage, *asked[2:]):
        told = client(tmp_path, "file_client.py", *asked, disk=400_000)
        assert told.startswith("beginning at 0")
        have = part.stat().st_size
        assert 0 < have <= 400_000
        assert not file.exists()
        assert client(tmp_path, "file_client.py", *asked).startswith(f"going on at {have}\n")
        assert file.read_bytes() == content
        assert not (tmp_path / "front.mp4.version").exists()
