"""What the README shows is what works."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from peerfetch_fast.signaling.peerjs.server import SignalingServer
from support import run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def main_of(program: str, replaced: dict[str, str]) -> tuple[Any, asyncio.Queue[Any]]:
    """The ``main`` of an example, and what it prints."""
    program, last = program.rsplit("\n\n", 1)
    assert last == "asyncio.run(main())\n"
    names: dict[str, Any] = {}
    define, printed = with_print(program, replaced, names)
    define()
    return names["main"], printed


def with_print(
    program: str, replaced: dict[str, str], names: dict[str, Any] | None = None
) -> tuple[Callable[[], None], asyncio.Queue[Any]]:
    """What runs an example, with these ``names``, and what it prints."""
    for old, new in replaced.items():
        program = program.replace(old, new)
    printed: asyncio.Queue[Any] = asyncio.Queue()
    names = {} if names is None else names
    names["print"] = printed.put_nowait
    return partial(exec, compile(program, "README.md", "exec", dont_inherit=True), names), printed


def test_the_python_examples_run() -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    fetch, synchronous, talk, serve = examples

    async def scenario() -> None:
        signaling = SignalingServer()
        await signaling.start("127.0.0.1", 0)
        where = {"ws://127.0.0.1:9000": signaling.url}
        try:
            main, printed = main_of(serve, where)
            serving = asyncio.ensure_future(main())
            peer_id = await printed.get()
            for example, expected in ((fetch, {"hello": "README"}), (talk, "hello")):
                main, printed = main_of(example, where | {"PEER-ID": peer_id})
                await main()
                assert printed.get_nowait() == expected
            program, printed = with_print(synchronous, where | {"PEER-ID": peer_id})
            await asyncio.to_thread(program)
            assert printed.get_nowait() == {"hello": "README"}
            serving.cancel()
            await asyncio.wait((serving,))
        finally:
            await signaling.close()

    run(scenario())


def test_the_commands_that_it_names_exist() -> None:
    text = README.read_text()
    named = set(re.findall(r"(?:\./run|`peerfetch) (\w+)", text)) - {"test"}
    assert {"demo", "proxy", "fetch", "signal"} <= named
    for command in named:
        subprocess.run(
            [sys.executable, "-m", "peerfetch_fast", command, "--help"],
            check=True,
            capture_output=True,
        )


def test_the_documents_that_it_links_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (ROOT / link).exists(), link
