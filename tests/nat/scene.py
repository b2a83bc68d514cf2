"""What stands in the network: coturn, a signaling server, and programs of ours."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.nat.network import SERVER, Network
from tests.processes import Process, environment, running

__all__ = ["CREDENTIAL", "USER", "coturn", "ours", "signaling_server"]

USER, CREDENTIAL = "someone", "secret"


@contextlib.contextmanager
def coturn(homes: Network, directory: Path) -> Iterator[None]:
    """STUN and TURN on port 3478 of the server, until the block ends."""
    listening = (*homes.inside("server"), "ss", "-Huln", "sport = :3478")
    with running(
        *(*homes.inside("server"), "turnserver", "-n", "--listening-ip", SERVER),
        *("--relay-ip", SERVER, "--lt-cred-mech", "--user", f"{USER}:{CREDENTIAL}"),
        *("--realm", "example.org", "--no-tls", "--no-dtls", "--no-cli"),
        *("--log-file", "stdout", "--userdb", directory / "db", "--pidfile", directory / "pid"),
        log=directory / "log",
        ready=lambda: bool(subprocess.check_output(listening)),
    ):
        yield


@contextlib.contextmanager
def signaling_server(homes: Network, directory: Path) -> Iterator[str]:
    """The URL of one on the server, until the block ends."""
    with ours(homes, "server", directory, "peerfetch_fast", "signal", "--listen", f"{SERVER}:9000"):
        yield f"ws://{SERVER}:9000"


@contextlib.contextmanager
def ours(
    homes: Network, place: str, directory: Path, module: str, *arguments: object
) -> Iterator[Process]:
    """A program of ours at that place."""
    ready = directory / f"{module}.ready"
    with running(
        *(*homes.inside(place), sys.executable, "-m", module, *arguments, "--ready-file", ready),
        log=ready.with_suffix(".log"),
        ready=ready.exists,
        env=environment(directory),
    ) as process:
        process.ready = json.loads(ready.read_text())
        yield process
