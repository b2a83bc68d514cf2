"""How many requests a second of any HTTP client go through ``forward``, beside nginx as a reverse
proxy of the same server?
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator

from bench.processes import Failed, run
from bench.proxied import Place, place
from bench.report import Row, environment, medians, parser, report
from bench.services import nginx, program

SMALL_GET = 1024
CONNECTIONS = (1, 16, 256)
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_FAILED = re.compile(r"Non-2xx or 3xx responses|Socket errors: .*")


def main() -> None:
    arguments_parser = parser("bench.forward", __doc__, runs=3)
    arguments_parser.add_argument(
        "--seconds", type=int, default=3, help="of requests in each run (%(default)s)"
    )
    arguments = arguments_parser.parse_args()
    report(
        arguments.json,
        run(_main(arguments)),
        line=_line,
        settings={name: value for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


def _line(row: Row) -> str:
    return (
        f"{row['connections']} connections: {row['forward_per_s']:.0f} requests/s through forward "
        f"and proxy, {row['nginx_per_s']:.0f} through nginx ({row['ratio']:.2f}), "
        f"{row['straight_per_s']:.0f} straight"
    )


async def _main(arguments: argparse.Namespace) -> list[Row]:
    if shutil.which("wrk") is None:
        raise Failed("wrk is not installed (apt install wrk)")
    rows = []
    async with place("native", {"small": SMALL_GET}) as here, contextlib.AsyncExitStack() as stack:
        reverse = await stack.enter_async_context(nginx(behind=here.upstream))
        forward = await stack.enter_async_context(_forwarded(here))
        for connections in CONNECTIONS:
            rows += [
                await _alternated(arguments, connections, here.upstream, reverse, forward)
                for _ in range(arguments.runs)
            ]
    return medians(rows, "connections")


@contextlib.asynccontextmanager
async def _forwarded(here: Place) -> AsyncIterator[str]:
    """A device's port here; gives its URL."""
    async with (
        here.proxy() as (_, peer_id),
        program(
            *("peerfetch_fast", "forward", peer_id, "--port", "0"),
            *("--signaling", here.signaling),
        ) as ready,
    ):
        yield ready["url"]


async def _alternated(
    arguments: argparse.Namespace, connections: int, straight: str, reverse: str, forward: str
) -> Row:
    rates = {
        name: await _rate(url, connections, arguments.seconds)
        for name, url in (("straight", straight), ("nginx", reverse), ("forward", forward))
    }
    return {
        "connections": connections,
        **{f"{name}_per_s": rate for name, rate in rates.items()},
        "ratio": rates["forward"] / rates["nginx"],
    }


async def _rate(url: str, connections: int, seconds: int) -> float:
    """Requests a second of wrk."""
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"{url.rstrip('/')}/small"),
        stdout=asyncio.subprocess.PIPE,
    )
    said = (await process.communicate())[0].decode()
    found, failed = _RATE.search(said), _FAILED.search(said)
    if found is None or failed is not None:
        raise Failed(f"wrk got other answers than it should: {said}")
    return float(found[1])


if __name__ == "__main__":
    main()
