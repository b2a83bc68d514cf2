from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from peerfetch_fast import networks
from peerfetch_fast.networks import Networks, look, matters, watch_networks
from support import virtually

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="of Linux's kernel")


def of(*hosts: str, sources: tuple[str, ...] = (), besides: tuple[str, ...] = ()) -> Networks:
    return Networks(frozenset(hosts), frozenset(sources), frozenset({*hosts, *besides}))


HOME = of("192.0.2.2", sources=("192.0.2.2",), besides=("127.0.0.1",))
ELSEWHERE = of("198.51.100.2", sources=("198.51.100.2",), besides=("127.0.0.1",))


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Networks]]:
    """The last of these is what there is, and the kernel tells nothing."""
    found = [HOME]
    monkeypatch.setattr(networks, "look", lambda: found[-1])
    monkeypatch.setattr(networks, "_listen", lambda *_: None)
    yield found
    assert not networks._watchers


def test_the_addresses_of_this_machine_are_found() -> None:
    found = look()
    assert found.hosts
    assert found.sources <= found.addresses
    assert found.has("127.0.0.1")
    assert found.has("127.0.0.2")
    assert not found.has("192.0.2.99")
    assert found == look()


def test_what_cannot_be_told_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(networks, "interface_addresses", refuse)
    assert look() == of()


def test_a_scope_is_not_part_of_an_address() -> None:
    assert of(besides=("fe80::1",)).has("fe80::1%eth0")


@pytest.mark.virtual_time
async def test_those_who_watch_are_told_of_changes_alone(there: list[Networks]) -> None:
    told: list[tuple[str, Networks]] = []
    first = watch_networks(lambda now: told.append(("first", now)))
    second = watch_networks(lambda now: told.append(("second", now)))
    assert first.networks == second.networks == HOME
    await asyncio.sleep(10)
    there.append(of(*HOME.hosts, sources=("192.0.2.2",), besides=("fe80::1",)))
    await asyncio.sleep(10)
    assert not told  # nothing that matters
    there.append(ELSEWHERE)
    await asyncio.sleep(10)
    assert told == [("first", ELSEWHERE), ("second", ELSEWHERE)]
    assert first.networks == ELSEWHERE
    first.stop()
    first.stop()
    there.append(HOME)
    await asyncio.sleep(10)
    assert told[2:] == [("second", HOME)]
    second.stop()


def test_one_who_fails_or_stops_another_keeps_nothing_from_the_rest(
    there: list[Networks], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        told: list[Networks] = []

        def fail(_: Networks) -> None:
            second.stop()
            raise ValueError("of one")

        first = watch_networks(fail)
        second = watch_networks(told.append)
        third = watch_networks(told.append)
        there.append(ELSEWHERE)
        await asyncio.sleep(10)
        assert told == [ELSEWHERE]
        first.stop()
        third.stop()

    virtually(main())
    assert "was not dealt with" in caplog.text


def test_each_loop_has_its_own_and_one_that_ended_is_cleared_away(there: list[Networks]) -> None:
    async def leave() -> None:
        watch_networks(lambda _: None)

    async def main() -> None:
        watch_networks(lambda _: None).stop()

    asyncio.run(leave())
    assert len(networks._watchers) == 1
    asyncio.run(main())


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def route(bits: int) -> bytes:
    return struct.pack("=BBBBBBBBI", socket.AF_INET, bits, 0, 0, 254, 3, 0, 1, 0)


@pytest.mark.parametrize(
    ("told", "does"),
    [
        (message(20, b""), True),
        (message(16, bytes(16)), True),
        (message(24, route(0)), True),
        (message(25, route(1)), True),
        (message(24, route(24)), False),
        (message(24, b"short"), False),
        (message(28, bytes(12)), False),  # RTM_NEWNEIGH
        (message(24, route(24)) + message(21, b""), True),
        (message(20, b"")[:-1], False),
        (struct.pack("=IHHII", 2**32 - 1, 20, 0, 0, 0), False),
        (struct.pack("=IHHII", 0, 20, 0, 0, 0) * 3, False),
        (b"", False),
    ],
)
def test_messages_of_the_kernel_that_may_matter_are_known(told: bytes, does: bool) -> None:
    assert matters(told) is does


@linux_only
async def test_only_the_kernel_is_believed() -> None:
    watch = watch_networks(lambda _: None)
    (watcher,) = networks._watchers.values()
    if watcher._kernel is None:
        pytest.skip("the kernel does not tell here")
    port, _ = watcher._kernel.getsockname()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as stranger:
        try:
            stranger.sendto(message(20, b""), (port, 0))
        except PermissionError:
            pytest.skip("no program may send to another here")
    await asyncio.sleep(0.05)
    assert watcher._timer is None
    watch.stop()


@linux_only
async def test_a_kernel_that_has_lost_count_is_asked() -> None:
    class Overrun:
        def recvfrom(self, _: int) -> Any:
            raise OSError(105, "No buffer space available")

    watch = watch_networks(lambda _: None)
    (watcher,) = networks._watchers.values()
    kernel, watcher._kernel = watcher._kernel, Overrun()  # type: ignore[assignment]
    watcher._on_told()
    assert watcher._timer is not None
    watcher._kernel = kernel
    watch.stop()


SCRIPT = """
import asyncio, subprocess, sys
from peerfetch_fast.networks import watch_networks

async def main():
    told = asyncio.Queue()
    watch = watch_networks(told.put_nowait)

    async def after(*changes):
        for change in changes:
            subprocess.run(["ip", *change.split()], check=True)
        found = await asyncio.wait_for(told.get(), 30)
        print(sorted(found.hosts), sorted(found.sources))

    await after("link set lo up", "address add 192.0.2.1/24 dev lo")
    await after("route add default dev lo src 192.0.2.1")
    subprocess.run("ip address add fe80::1/64 dev lo; ip route add 10.0.0.0/8 dev lo", shell=True)
    await after("address add 203.0.113.1/24 dev lo", "address delete 192.0.2.1/24 dev lo")
    await after("link set lo down")
    watch.stop()

if "uvloop" in sys.argv:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@linux_only
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_changes_of_networks_are_told(loop: str) -> None:
    """In a network namespace, where nobody else's networks are changed."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    apart = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here")
    done = subprocess.run(
        [*apart, sys.executable, "-W", "error", "-c", SCRIPT, loop],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "['192.0.2.1'] []",
        "['192.0.2.1'] ['192.0.2.1']",
        "['203.0.113.1'] []",
        "['127.0.0.1'] []",
    ]
