"""The web endpoint, asked by an HTTP client."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import PREFIX, web_endpoint

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

Get = Callable[..., Awaitable[tuple[aiohttp.ClientResponse, str]]]


@contextlib.asynccontextmanager
async def endpoint(*allowed_origins: str) -> AsyncIterator[Get]:
    """Asks a signaling server with the endpoint before it; gives answer and text."""
    server = SignalingServer(middlewares=[web_endpoint(allowed_origins)])
    await server.start("127.0.0.1", 0)
    base = f"http{server.url.removeprefix('ws')}"
    try:
        async with aiohttp.ClientSession() as session:

            async def get(
                path: str, headers: dict[str, str] | None = None, method: str = "GET"
            ) -> tuple[aiohttp.ClientResponse, str]:
                async with session.request(method, base + path, headers=headers) as response:
                    return response, await response.text()

            yield get
    finally:
        await server.close()


async def test_the_page_is_for_browsers_and_the_rest_for_peerjs() -> None:
    async with endpoint() as get:
        response, text = await get("/", HTML)
        assert response.content_type == "text/html"
        assert "<title>peerfetch</title>" in text
        response, _ = await get("/")
        assert response.content_type == "application/json"
        response, text = await get("/peerjs/id", HTML)
        assert re.fullmatch("[0-9a-f]{32}", text)
        assert (await get("/nothing", HTML))[0].status == 404
        assert (await get("/", HTML, "POST"))[0].status == 405


async def test_everything_that_the_pages_name_is_there_and_nothing_is_of_others() -> None:
    async with endpoint() as get:
        wanted = [f"{PREFIX}page/index.html", f"{PREFIX}page/app.html", f"{PREFIX}worker.js"]
        seen: set[str] = set()
        while wanted:
            path = wanted.pop()
            if path in seen:
                continue
            seen.add(path)
            response, text = await get(path)
            assert response.status == 200, path
            assert not re.search(r"(src|href)=\"(https?:)?//", text), path
            assert "<script>" not in text
            assert "style=" not in text
            folder = path.rpartition("/")[0]
            for found in re.findall(r"from \"(\.\.?/[^\"]+)\"", text):
                up, rest = (
                    (folder.rpartition("/")[0], found[3:])
                    if found.startswith("../")
                    else (folder, found[2:])
                )
                wanted.append(f"{up}/{rest}")
            wanted += re.findall(rf"(?:src|href)=\"({PREFIX}[^\"#]+)\"", text)
        assert {f"{PREFIX}peerfetch.js", f"{PREFIX}lib/engine.js"} <= seen
        assert (await get(f"{PREFIX}peerfetch.d.ts"))[0].status == 200
        assert (await get(f"{PREFIX}package.json"))[0].status == 200


@pytest.mark.parametrize("path", ["/", f"{PREFIX}page/app.html"])
async def test_pages_have_the_policies_that_keep_others_out(path: str) -> None:
    async with endpoint() as get:
        response, _ = await get(path, HTML)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin-allow-popups"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Origin-Agent-Cluster"] == "?1"


async def test_the_worker_may_have_the_whole_origin_and_nothing_else() -> None:
    async with endpoint() as get:
        for path, allowed in ((f"{PREFIX}worker.js", "/"), (f"{PREFIX}peerfetch.js", None)):
            response, _ = await get(path)
            assert response.content_type == "text/javascript"
            assert response.headers.get("Service-Worker-Allowed") == allowed


async def test_the_module_may_be_imported_by_pages_that_are_allowed() -> None:
    path, name = f"{PREFIX}peerfetch.js", "Access-Control-Allow-Origin"
    app, other = {"Origin": "https://app.example"}, {"Origin": "https://other.example"}
    async with endpoint() as get:
        for headers in (app, other):
            response, _ = await get(path, headers)
            assert response.headers[name] == headers["Origin"]
            assert response.headers["Vary"] == "Origin"
    async with endpoint("https://app.example") as get:
        first = (await get(path, app))[0]
        assert first.headers[name] == "https://app.example"
        assert first.headers["Vary"] == "Origin"
        again = (await get(path, {**app, "If-None-Match": first.headers["ETag"]}))[0]
        assert again.status == 304
        assert again.headers[name] == "https://app.example"
        for headers in (None, other):
            response, _ = await get(path, headers)
            assert response.status == 200
            assert name not in response.headers


async def test_what_has_not_changed_is_not_sent_again() -> None:
    async with endpoint() as get:
        path = f"{PREFIX}peerfetch.js"
        first, _ = await get(path)
        again, text = await get(path, {"If-None-Match": first.headers["ETag"]})
        assert (again.status, text) == (304, "")
        other, _ = await get(path, {"If-None-Match": '"another"'})
        assert other.status == 200


@pytest.mark.parametrize(
    ("host", "shell"),
    [
        ("dev1.localhost:9000", True),
        ("dev1.localhost", True),
        ("peer-dev1.example.com", True),
        ("localhost:9000", False),
        ("peerfetch.example.com", False),
        ("dev1.localhost.example.com", False),
        ("192.168.1.20:9000", False),
    ],
)
async def test_on_a_host_of_a_device_every_path_is_its_shell(host: str, shell: bool) -> None:
    async with endpoint() as get:
        headers = {**HTML, "Host": host}
        response, text = await get("/deep/link", headers)
        assert response.status == (200 if shell else 404)
        assert ("page/app.js" in text) is shell
        assert (await get(f"{PREFIX}page/app.js", headers))[0].status == 200
        assert (await get("/peerjs/id", {"Host": host}))[0].status == 200
