"""How a peer of ours hears what the benchmark says, and answers."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

__all__ = ["read_commands", "tell"]


async def read_commands() -> asyncio.StreamReader:
    """What the benchmark says."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    return commands


def tell(kind: str, **fields: Any) -> None:
    """Answer the benchmark."""
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\n")
    sys.stdout.flush()
