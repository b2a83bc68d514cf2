"""A proxy in front of a small server of this process."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from processes import Process, start_proxy

SIZE = 700_000
TEXT = "".join(f"line {number}\n" for number in range(100))


class Site:
    """An HTTP server in a thread; what it was asked, and levers for what it shall do."""

    def __init__(self, directory: Path) -> None:
        self.url = ""
        self._asked: collections.Counter[str] = collections.Counter()
        self._text = directory / "file.txt"
        self._text.write_text(TEXT)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._cutting = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Site:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/echo", self._echo)
        app.router.add_route("*", "/status/{code}", self._status)
        app.router.add_get("/large", self._large)
        app.router.add_get("/cut", self._cut)
        app.router.add_get("/cut/later", self._cut)
        app.router.add_post("/cut/now", self._cut_now)
        app.router.add_get("/never", self._never)
        app.router.add_post("/early", self._early)
        app.router.add_get("/moved", self._moved)
        app.router.add_get("/packed", self._packed)
        app.router.add_get("/file.txt", self._file)
        app.router.add_post("/login", self._login)
        app.router.add_get("/not-yet/{key}", self._not_yet)
        app.router.add_get("/slowly", self._slowly)
        app.router.add_get("/away", self._away)
        app.router.add_get("/loop", self._endless)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            self._started.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        fields = [f"{n.decode()}: {v.decode()}" for n, v in request.raw_headers]
        return web.json_response(
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": sorted(fields),
                "body": body.decode("latin-1"),
            }
        )

    async def _status(self, request: web.Request) -> web.Response:
        response = web.Response(status=int(request.match_info["code"]), text="the body")
        response.headers.extend([("X-Two", "a"), ("X-Two", "b")])
        return response

    async def _large(self, request: web.Request) -> web.Response:
        return web.Response(body=b"0123456789" * (SIZE // 10))

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half")
        if request.path == "/cut/later":
            await self._cutting.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _cut_now(self, _request: web.Request) -> web.Response:
        self._cutting.set()
        return web.Response()

    async def _never(self, request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def _moved(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/status/200")

    async def _packed(self, request: web.Request) -> web.Response:
        response = web.Response(text="text " * 1000)
        response.enable_compression()
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self._text)

    async def _login(self, request: web.Request) -> web.Response:
        await request.read()
        answer = web.HTTPFound("/echo")
        answer.headers.extend(
            [
                ("Set-Cookie", "id=abc; Path=/; HttpOnly"),
                ("Set-Cookie", "kept=1; Path=/; Max-Age=1000000"),
                ("Set-Cookie", "elsewhere=1; Path=/other"),
                ("Set-Cookie", "gone=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            ]
        )
        raise answer

    async def _not_yet(self, request: web.Request) -> web.Response:
        """Not ready when it is asked for the first time."""
        asked, after = self._asked, request.query.get("after")
        asked[request.match_info["key"]] += 1
        if asked[request.match_info["key"]] > 1:
            return web.Response(text="ready\n")
        headers = {} if after is None else {"Retry-After": after}
        return web.Response(status=503, text="not yet\n", headers=headers)

    async def _slowly(self, request: web.Request) -> web.StreamResponse:
        """The beginning of something that could be gone on with."""
        response = web.StreamResponse(headers={"ETag": '"v1"'})
        response.content_length = 10_000_000
        await response.prepare(request)
        await response.write(bytes(1_000_000))
        await asyncio.Event().wait()
        raise AssertionError

    async def _away(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("http://example.com/")

    async def _endless(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("/loop")

    async def _early(self, request: web.Request) -> web.Response:
        """Answer without a look at the body."""
        response = web.Response(text="enough")
        response.force_close()
        return response


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site.url


@pytest.fixture(scope="session")
def proxy(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The proxy in front of it."""
    with start_proxy(tmp_path_factory.mktemp("proxy"), site, "auto") as proxy:
        yield proxy
