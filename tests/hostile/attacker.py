"""``python -m tests.hostile.attacker``: the attacker, who does as the driver says in JSON lines."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine

from bench.peers.channel import read_commands, tell
from cryptography.hazmat.primitives.hashes import SHA256
from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.meeting import Device, NotMet, certificate, dial
from tests.hostile.outside import OUTSIDE, Victim
from tests.hostile.sctp import Ended, RawAssociation

from peerfetch_fast.identity import format_pin

RETRY = 0.2
"""Seconds after which an attacker who was turned away tries again."""

MEETING = 30.0
"""Seconds in which attacker and victim meet."""


class Count:
    """What the attacker got to do."""

    def __init__(self) -> None:
        self.sessions = 0
        self.refused = 0
        self.packets = 0
        self.begun = asyncio.Event()

    def of(self, work: Attack) -> Attack:
        """Count the sessions of an attack on associations."""

        async def counted(raw: RawAssociation) -> None:
            self.sessions += 1
            self.begun.set()
            try:
                await work(raw)
                await raw.ended.wait()
            finally:
                self.packets += raw.sent
                await raw.close()

        return counted


async def attack_proxy(name: str, victim: Victim, count: Count) -> None:
    """Attack over and over again."""
    while True:
        try:
            if name in ATTACKS:
                await count.of(ATTACKS[name])(await dial(victim.signaling, victim.peer_id))
            else:
                count.sessions += 1
                count.begun.set()
                await OUTSIDE[name](victim)
        except Ended:
            continue
        except NotMet:
            count.refused += 1
        await asyncio.sleep(RETRY)


async def obey(command: dict[str, object], devices: dict[str, Device]) -> Count:
    """Do one attack for as long as is asked.

    :param devices: those that there are, by their ids.
    """
    name, seconds = str(command["name"]), float(str(command["seconds"]))
    victim = Victim(str(command["signaling"]), str(command["peer_id"]), int(str(command["pid"])))
    count = Count()
    work: Coroutine[None, None, object]
    if command["as"] == "device":
        if victim.peer_id not in devices:
            devices[victim.peer_id] = Device(victim.signaling, victim.peer_id)
            await devices[victim.peer_id].start()
        work = devices[victim.peer_id].serve(count.of(ATTACKS[name]))
    else:
        work = attack_proxy(name, victim, count)
    task = asyncio.ensure_future(work)
    await asyncio.wait_for(count.begun.wait(), MEETING)
    tell("began")
    await asyncio.wait((task,), timeout=seconds)
    while not task.done():
        task.cancel()  # once may not be enough: asyncio.wait_for of Python 3.11 can lose it
        await asyncio.wait((task,), timeout=0.1)
    if not task.cancelled():
        task.result()
    return count


async def main() -> None:
    commands = await read_commands()
    tell("open", pin=format_pin(certificate()._cert.fingerprint(SHA256())))
    devices: dict[str, Device] = {}
    while line := await commands.readline():
        count = await obey(json.loads(line), devices)
        tell("attacked", sessions=count.sessions, refused=count.refused, packets=count.packets)
    for device in devices.values():
        await device.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # what goes wrong here is the victim's doing
    asyncio.run(main())
