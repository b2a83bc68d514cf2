"""``peerfetch status``: the status of the proxies and forwards that run on this machine."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli.options import log_level_option, state_option
from peerfetch_fast.state import state_directory

__all__ = ["status"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list, on one line.")
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 3600),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Go on showing it, each 2 seconds unless told otherwise.",
)
@state_option("The one that the programs were started with.")
@log_level_option
def status(as_json: bool, watch: float | None, state_dir: Path | None) -> None:
    """Show who is connected to the proxies and forwards that run here, and how.

    Of each peer: directly or through a relay, and why no better way is taken; since when, the bytes
    that were received of it and sent to it, and the requests that run; and what was refused.
    """
    from peerfetch_fast.status import ask_all

    state = state_dir or state_directory()
    while True:
        programs = ask_all(state)
        if watch is not None and sys.stdout.isatty():
            click.clear()
        if as_json:
            click.echo(json.dumps(programs))
        elif programs:
            click.echo("\n\n".join(_text(told) for told in programs))
        else:
            click.echo("No proxy or forward is running.", err=True)
        if watch is None:
            sys.exit(0 if programs else 1)
        sys.stdout.flush()
        time.sleep(watch)


def _text(told: dict[str, Any]) -> str:
    now = time.time()
    lines = [
        f"{told['program']} {told.get('peer_id', '')}  pid {told.get('pid')}, "
        f"for {_time(now - told.get('since', now))}"
    ]
    for peer in told["peers"]:
        way = peer.get("way") or "on its way"
        if relay := peer.get("relay"):
            way += f" by {relay}"
        state = "" if peer.get("state") == "connected" else f", {peer.get('state')}"
        lines.append(
            f"  {peer.get('id')}  {way}, {peer.get('address') or 'no address'}{state}, "
            f"for {_time(now - peer.get('since', now))}, "
            f"{_size(peer.get('received', 0))} in, {_size(peer.get('sent', 0))} out, "
            f"{peer.get('requests', 0)} running"
        )
        if why := peer.get("why"):
            lines.append(f"    {why}")
    if not told["peers"]:
        lines.append("  nobody is connected")
    lines += [f"  refused: {reason}, {count} times" for reason, count in told["refused"].items()]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 99.5 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
