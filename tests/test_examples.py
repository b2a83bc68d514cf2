"""The programs in ``examples/`` do what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import NetworkHub, Node
from processes import PACKAGES, environment, peerfetch, posix_only

EXAMPLES = Path(__file__).parents[1] / "examples"


@posix_only
def test_federated_averaging(tmp_path: Path) -> None:
    """Three processes come to the same model, which is that of all their points."""
    names = ("anna", "ben", "cleo")
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as meeting:
        running = [
            subprocess.Popen(
                [
                    *(sys.executable, EXAMPLES / "federated_averaging.py", name, ",".join(names)),
                    *(tmp_path / "links", "--signaling", meeting.ready["signaling"]),
                ],
                stdout=subprocess.PIPE,
                env=environment(tmp_path / name) | {"PYTHONPATH": PACKAGES},
            )
            for name in names
        ]
        try:
            found = [json.loads(process.communicate(timeout=240)[0]) for process in running]
        finally:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                process.wait()
    assert found[0] == found[1] == found[2] == pytest.approx([3, 1], abs=0.2)


@posix_only
async def test_smoke_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One shows a camera, another one passes it on, and a third one sees it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hub = SignalingServer(SignalingServerSettings(smoke=True))
    await hub.start("127.0.0.1", 0)
    shown = {
        "garden": ["--camera", "test:?width=160&height=120&rate=10"],
        "house": ["--source", "rest://garden/mediastream"],
    }
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLES / "smoke_camera.py", f"{hub.url}/smoke"),
            *("--name", name, *source),
            stdout=subprocess.PIPE,
            env=environment(tmp_path / name) | {"PYTHONPATH": PACKAGES},
        )
        for name, source in shown.items()
    ]
    try:
        async with asyncio.timeout(60), Node(NetworkHub(f"{hub.url}/smoke")) as node:
            for process in running:
                assert process.stdout is not None
                url = (await process.stdout.readline()).decode().strip()
            assert url == "rest://house/mediastream"
            answer = await node.rest.fetch(url)
            async with await answer.mediastream() as stream:
                assert (await anext(stream)).key
                assert stream.video_format is not None
                assert (stream.video_format.width, stream.video_format.height) == (160, 120)
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await hub.close()
