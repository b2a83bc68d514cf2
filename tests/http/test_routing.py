from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from peerfetch_fast.http.blocks import BlockReader
from peerfetch_fast.http.heads import decode_response, encode_request
from peerfetch_fast.http.routing import CAMERAS, Resources, Router, path_prefix
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream import Upstream
from support import Pair, http_pair, read_all

pytestmark = pytest.mark.virtual_time


class Saying:
    """A handler that says its name, and where it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    async def __call__(self, exchange: Exchange) -> None:
        said = f"{self.name} {exchange.prefix or '-'} {exchange.target}"
        exchange.respond(200, body=said.encode())

    async def close(self) -> None:
        self.closed = True


@contextlib.asynccontextmanager
async def routed(*prefixes: str) -> AsyncIterator[Pair]:
    handlers = {prefix: Saying(prefix or "root") for prefix in map(path_prefix, prefixes)}
    router = Router(handlers)
    async with http_pair(router) as pair:
        yield pair
    await router.close()
    assert all(handler.closed for handler in handlers.values())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/", "root - /"),
        ("/x?y", "root - /x?y"),
        ("/camera", "root - /camera"),
        ("/cam/", "/cam /cam /"),
        ("/cam/x/y?z=/cam/", "/cam /cam /x/y?z=/cam/"),
        ("/cam//x", "/cam /cam //x"),
        ("/c%61m/%61", "/cam /cam /%61"),
        ("/cam/hd/x", "/cam/hd /cam/hd /x"),
        ("/cam/hdx/", "/cam /cam /hdx/"),
        ("/a%20b/c", "/a%20b /a%20b /c"),
        ("/x/cam/y", "root - /x/cam/y"),
        ("/cam%2Fx", "root - /cam%2Fx"),
    ],
)
async def test_the_longest_prefix_wins(target: str, said: str) -> None:
    async with routed("/cam", "/", "/cam/hd/", "/a%20b") as pair:
        assert await (await pair.fetch(target)).text() == said


@pytest.mark.parametrize(
    ("target", "location"),
    [("/cam", "./cam/"), ("/cam?x=1", "./cam/?x=1"), ("/cam/hd", "./hd/"), ("/c%61m", "./c%61m/")],
)
async def test_the_slash_behind_is_added(target: str, location: str) -> None:
    async with routed("/cam", "/cam/hd") as pair:
        response = await pair.fetch(target, method="POST")
        assert response.status == 308
        assert response.headers["location"] == location


async def test_a_path_that_nobody_serves() -> None:
    async with routed("/cam", "/files") as pair:
        for target in ("/", "/other", "/camera", "/Cam/"):
            response = await pair.fetch(target)
            assert response.status == 404
            text = await response.text()
            assert text.strip() == "Nothing is served at this path."


async def test_absolute_targets_reach_the_upstreams_and_nothing_else() -> None:
    async def status(pair: Pair, target: str) -> int:
        stream = await pair.client.open_stream()
        await stream.write(encode_request("GET", target, []))
        stream.end()
        return decode_response(BlockReader().feed(await read_all(stream))[0][1])[0]

    router = Router({"/cam": Upstream("http://127.0.0.1:9"), "": Saying("root")})
    async with http_pair(router) as pair:
        # Nobody listens there, which is known only when it was tried.
        assert await status(pair, "http://127.0.0.1:9/x") == 502
        for target in ("http://127.0.0.1:99/x", "http://evil.example/", "*", "cam/x"):
            assert await status(pair, target) == 403
    await router.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cam",
        "//",
        "/a//b",
        "/a/../b",
        "/%2e%2e",
        "/a?b",
        "/a#b",
        "/a b",
        "/\xe4",
        "/a=",
        "/./a",
        "/a\\b",
    ],
)
def test_paths_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="path to serve at"):
        path_prefix(text)


def test_paths_are_written_in_one_way() -> None:
    assert path_prefix("/") == ""
    assert path_prefix("/cam/") == path_prefix("/cam") == path_prefix("/c%61m") == "/cam"
    assert path_prefix("/a%20b/%C3%A4") == "/a%20b/%C3%A4"


class Seeing(Resources):
    is_camera = True

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    async def __call__(self, exchange: Exchange) -> None:
        exchange.respond(200, body=b"a picture")


async def test_a_device_tells_of_its_cameras() -> None:
    router = Router({"": Saying("root"), "/b%20c": Seeing(), "/a/b": Seeing("Door")})
    async with http_pair(router) as pair:
        response = await pair.fetch(CAMERAS)
        assert response.headers["content-type"] == "application/json"
        assert await response.json() == {
            "cameras": [{"href": "/b%20c/", "name": None}, {"href": "/a/b/", "name": "Door"}]
        }
        # Of another method nothing is known.
        assert (await (await pair.fetch(CAMERAS, method="POST")).bytes()).startswith(b"root")


async def test_a_device_without_cameras_passes_their_path_on() -> None:
    async with routed("/") as pair:
        assert (await (await pair.fetch(CAMERAS)).bytes()).startswith(b"root")
