"""A client and a device, all that goes between them, and what happens to their networks."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nat.network import HOMES, SERVER, Network
from tests.nat.scene import CREDENTIAL, USER
from tests.nat.traffic import write
from tests.processes import ROOT, Process, environment, running

__all__ = ["MOVES", "Move", "Moved", "moved"]

AFTER = {"phone": ("router3", "192.168.3.9"), "device": ("router4", "192.168.4.9")}
"""Where who moves goes to."""

PATIENCE = 120.0
"""Seconds that a client has for all of it, on a machine that has others to run."""


@dataclass(frozen=True)
class Move:
    """What happens in the middle of everything.

    :ivar movers: who loses its interface and gets another, elsewhere.
    :ivar outage: seconds in between.
    :ivar relayed: whether no router lets anything through but by a relay.
    :ivar forgotten: whether routers forget the connections that they know, instead.
    :ivar followed: whether each follows the other without a word of signaling.
    :ivar device: where the device is.
    """

    movers: tuple[str, ...] = ()
    outage: float = 1.0
    relayed: bool = False
    forgotten: bool = False
    followed: bool = False
    device: str = "device"


MOVES = {
    "client": Move(("phone",)),
    "device": Move(("device",)),
    "both": Move(("phone", "device")),
    "client by relays": Move(("phone",), relayed=True),
    "device by relays": Move(("device",), relayed=True),
    "client after 12 s": Move(("phone",), outage=12.0),
    "routers forget": Move(forgotten=True, followed=True),
    "routers forget relays": Move(forgotten=True, relayed=True),
    "other ports": Move(forgotten=True, relayed=True, followed=True, device="server"),
}


@dataclass(frozen=True)
class Moved:
    """What came of it: what the client says, and both logs."""

    result: dict[str, Any]
    client: str
    device: str


@contextlib.contextmanager
def _program(
    homes: Network, place: str, directory: Path, name: str, *arguments: object
) -> Iterator[Process]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with running(
        *(*homes.inside(place), sys.executable, ROOT / "tests" / "nat" / f"{name}.py", *arguments),
        log=directory / f"{name}.log",
        env=environment(directory) | {"PYTHONPATH": path},
    ) as process:
        yield process


def _wait(process: Process, file: Path) -> Any:
    until = time.monotonic() + PATIENCE
    while not file.exists():
        assert not process.ended, f"it ended:\n{process.output}"
        assert time.monotonic() < until, f"no {file.name} in time:\n{process.output}"
        time.sleep(0.01)
    return json.loads(file.read_text())


def _happen(homes: Network, move: Move) -> tuple[float, float]:
    """When the old way was lost, and when there was another."""
    if move.forgotten:
        homes.forget()
        return (time.monotonic(),) * 2
    for mover in move.movers:
        homes.leave(mover)
    lost = time.monotonic()
    time.sleep(move.outage)
    for mover in move.movers:
        homes.join(mover, *AFTER[mover])
    return lost, time.monotonic()


def _go_home(homes: Network, move: Move) -> None:
    for mover in move.movers:
        homes.leave(mover)
        router = next(router for router, (_, hosts) in HOMES.items() if mover in hosts)
        homes.join(mover, router, HOMES[router][1][mover])


def moved(
    homes: Network,
    signaling: str,
    move: Move,
    size: int,
    directory: Path,
    client: str = "client",
) -> Moved:
    """Have that happen while ``size`` bytes go each way, and messages and requests beside them.

    :param client: the program at the phone; ``browser`` has a page that sends ``size`` bytes.
    """
    homes.translate("another port for each" if move.relayed else "one port for all")
    stun = {"urls": f"stun:{SERVER}:3478"}
    turn = {"urls": f"turn:{SERVER}:3478", "username": USER, "credential": CREDENTIAL}
    servers = json.dumps([stun, turn])
    ready = directory / "ready"
    with _program(homes, move.device, directory, "device", signaling, servers, ready) as device:
        url = _wait(device, ready)["url"]
        with _program(
            homes, "phone", directory, client, signaling, servers, url, size, directory
        ) as phone:
            try:
                _wait(phone, directory / "running")
                write(directory / "moved", _happen(homes, move))
                result = _wait(phone, directory / "result")
            except AssertionError as error:
                error.add_note(f"The device's log:\n{device.output}")
                raise
            finally:
                _go_home(homes, move)
            return Moved(result, phone.output, device.output)
