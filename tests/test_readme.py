"""What the README shows is what works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

import peerfetch_fast as peerfetch
from peerfetch_fast.signaling.server import SignalingServer
from support import run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program, last = example.rsplit("\n\n", 1)
    assert last == "asyncio.run(main())\n"

    async def hello(request: web.Request) -> web.Response:
        return web.json_response({"hello": "README"})

    async def scenario() -> None:
        app = web.Application()
        app.router.add_get("/api/hello", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        signaling = SignalingServer()
        await signaling.start("127.0.0.1", 0)
        port = runner.addresses[0][1]
        server = await peerfetch.serve(f"http://127.0.0.1:{port}", signaling=signaling.url)
        try:
            names: dict[str, object] = {}
            ours = program.replace("PEER-ID", server.peer_id)
            ours = ours.replace("ws://127.0.0.1:9000", signaling.url)
            exec(ours, names)
            await names["main"]()  # type: ignore[operator]
        finally:
            await server.close()
            await signaling.close()
            await runner.cleanup()

    run(scenario())
    assert capsys.readouterr().out == "{'hello': 'README'}\n"


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
