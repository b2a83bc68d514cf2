"""A Smoke node that shows a camera, or passes on what another node shows.

    python smoke_camera.py wss://HOST/smoke --name garden --camera v4l2:/dev/video0
    python smoke_camera.py wss://HOST/smoke --name house --source rest://garden/mediastream

Pages have it by `rest://NAME/mediastream` (docs/smoke.md). Prints that URL.
"""

from __future__ import annotations

import argparse
import asyncio

from peerfetch_fast import Camera
from peerfetch_fast.smoke import NetworkHub, Node
from peerfetch_fast.smoke.rest import Request, Response


async def pass_on(node: Node, source: str, response: Response) -> None:
    """Answer with what another node shows, for as long as somebody looks on."""
    answer = await node.rest.fetch(source)
    async with await answer.mediastream() as stream:
        sending = await response.mediastream(stream)
        await sending.wait_closed()


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hub")
    parser.add_argument("--name", required=True)
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--camera")
    shown.add_argument("--source")
    options = parser.parse_args()
    camera = None if options.camera is None else Camera(options.camera)
    async with Node(NetworkHub(options.hub)) as node:
        app = node.rest.create_server()

        @app.get("/mediastream")
        async def mediastream(_: Request, response: Response) -> None:
            if camera is None:
                await pass_on(node, options.source, response)
            else:
                await response.mediastream(camera)

        app.listen(80)
        await node.hub.register(options.name)
        print(f"rest://{options.name}/mediastream", flush=True)
        await node.wait_closed()


asyncio.run(main())
