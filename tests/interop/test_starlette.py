"""Starlette and FastAPI applications through ``serve(app)``, after what their own tests try."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, WebSocketException
from fastapi import WebSocket as FastAPIWebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from peerfetch_fast import Peer, connect, serve
from peerfetch_fast.errors import (
    ApplicationError,
    StreamReset,
    UpgradeRefused,
    WebSocketClosed,
)
from peerfetch_fast.http.asgi import handler
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from support import run, until


@contextlib.asynccontextmanager
async def served(app: Any, transport: Any) -> AsyncIterator[Peer]:
    """A peer that is connected to the application."""
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    try:
        async with (
            await serve(app, signaling=signaling.url, transport=transport) as server,
            connect(server.peer_id, signaling=signaling.url, transport=transport) as peer,
        ):
            yield peer
    finally:
        await signaling.close()


async def text_of(peer: Peer, target: str, **options: Any) -> str:
    return await (await peer.fetch(target, **options)).text()


# -- requests and answers ----------------------------------------------------------------------


async def show(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "query": request.query_params.multi_items(),
            "path": request.path_params,
            "headers": request.headers.items(),
            "cookies": request.cookies,
            "body": (await request.body()).decode(),
            "client": request.client is not None and request.client.host,
            "root_path": request.scope["root_path"],
            "here": str(request.url_for(request.query_params.get("name", "show"), rest="x")),
        }
    )


async def test_requests_are_routed_with_all_that_they_hold(transport: str) -> None:
    app = Starlette(routes=[Route("/show/{rest:path}", show, methods=["GET", "PUT"], name="show")])

    async with served(app, transport) as peer:
        response = await peer.fetch(
            "/show/a%20b/ä?x=1&x=%C3%A4&y",
            method="PUT",
            headers=[("Cookie", "a=1; b=2"), ("X-One", "1"), ("X-One", "2")],
            body="the body ☃",
        )
        seen = await response.json()
        assert seen["method"] == "PUT"
        # It has the name that the signaling server knows it by.
        assert seen["url"] == f"https://{peer.id}/show/a b/ä?x=1&x=%C3%A4&y"
        assert seen["query"] == [["x", "1"], ["x", "ä"], ["y", ""]]
        assert seen["path"] == {"rest": "a b/ä"}
        assert [v for n, v in seen["headers"] if n == "x-one"] == ["1", "2"]
        assert ["content-length", "12"] in seen["headers"]
        assert seen["cookies"] == {"a": "1", "b": "2"}
        assert seen["body"] == "the body ☃"
        assert seen["client"]  # our peer id
        assert seen["here"] == f"https://{peer.id}/show/x"
        response = await peer.fetch("/show/x", method="DELETE")
        assert response.status == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT"}
        assert (await peer.fetch("/nowhere")).status == 404


async def test_mounted_applications_and_redirects(transport: str) -> None:
    inner = Starlette(routes=[Route("/show/{rest:path}", show, name="show")])

    async def leave(request: Request) -> RedirectResponse:
        url = request.url_for("inner:show", rest="from afar").include_query_params(name="leave")
        return RedirectResponse(url)

    app = Starlette(
        routes=[
            Route("/leave/{rest}", leave, name="leave"),
            Route("/slash/", lambda request: PlainTextResponse("slash")),
            Mount("/inner", inner, name="inner"),
        ]
    )

    async with served({"/apps": app, "/": inner}, transport) as peer:
        seen = await (await peer.fetch("/apps/inner/show/x?name=inner:show")).json()
        assert seen["root_path"] == "/apps/inner"
        assert seen["here"] == f"https://{peer.id}/apps/inner/show/x"
        seen = await (await peer.fetch("/show/x")).json()
        assert (seen["root_path"], seen["here"]) == ("", f"https://{peer.id}/show/x")
        response = await peer.fetch("/apps/leave/now")
        assert (await response.json())["path"] == {"rest": "from afar"}
        assert response.redirected
        response = await peer.fetch("/apps/slash", redirect="manual")
        # Starlette adds a slash with a redirect to its whole URL, of which the path remains.
        assert response.headers["location"] == "/apps/slash/"
        assert await text_of(peer, "/apps/slash") == "slash"


async def test_bodies_stream_both_ways(transport: str) -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()

    async def count(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                await asked.get()
                yield b"%d" % number

        return StreamingResponse(pieces(), 201, {"x-one": "1"}, "text/x-count")

    async def digest(request: Request) -> PlainTextResponse:
        found = hashlib.sha256()
        async for piece in request.stream():
            found.update(piece)
        return PlainTextResponse(found.hexdigest())

    app = Starlette(
        routes=[
            Route("/count", count),
            Route("/digest", digest, methods=["POST"]),
        ]
    )

    async with served(app, transport) as peer:
        response = await peer.fetch("/count")
        assert response.status == 201
        assert response.headers["content-type"] == "text/x-count; charset=utf-8"
        for number in range(3):
            asked.put_nowait(None)
            assert await response.read() == b"%d" % number
        assert await response.read() == b""
        large = bytes(range(256)) * 200
        answers = [text_of(peer, "/digest", body=large[number:]) for number in range(8)]
        expected = [hashlib.sha256(large[number:]).hexdigest() for number in range(8)]
        assert await asyncio.gather(*answers) == expected


def test_exceptions_become_statuses_or_a_cut_answer(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def known(request: Request) -> Response:
        raise StarletteHTTPException(418, "short and stout", {"x-tea": "yes"})

    async def unknown(request: Request) -> Response:
        raise ValueError("on purpose")

    async def half(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            raise ValueError("in the middle")

        return StreamingResponse(pieces())

    app = Starlette(
        routes=[Route("/known", known), Route("/unknown", unknown), Route("/half", half)]
    )

    async def main() -> None:
        async with served(app, transport) as peer:
            response = await peer.fetch("/known")
            assert (response.status, response.headers["x-tea"]) == (418, "yes")
            assert await response.text() == "short and stout"
            response = await peer.fetch("/unknown")
            assert (response.status, await response.text()) == (500, "Internal Server Error")
            response = await peer.fetch("/half")
            assert response.status == 200
            with pytest.raises(StreamReset):
                await response.bytes()

    run(main())
    assert "on purpose" in caplog.text
    assert "in the middle" in caplog.text


async def test_middleware_stamps_compresses_and_answers_preflights(transport: str) -> None:
    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            response: Response = await call_next(request)
            response.headers["x-stamp"] = request.url.path
            return response

    app = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse("a" * 5000), methods=["GET"])],
        middleware=[
            Middleware(HTTPSRedirectMiddleware),  # what is asked here is encrypted already
            Middleware(CORSMiddleware, allow_origins=["https://page"]),
            Middleware(Stamp),
            Middleware(GZipMiddleware),
        ],
    )

    async with served(app, transport) as peer:
        headers = {"origin": "https://page", "accept-encoding": "gzip"}
        response = await peer.fetch("/", headers=headers, decode=False)
        assert response.headers["access-control-allow-origin"] == "https://page"
        assert response.headers["x-stamp"] == "/"
        assert gzip.decompress(await response.bytes()) == b"a" * 5000
        assert await text_of(peer, "/") == "a" * 5000
        headers["access-control-request-method"] = "GET"
        assert (await peer.fetch("/", method="OPTIONS", headers=headers)).status == 200


async def test_files_are_served_with_ranges_and_conditions(transport: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "file.bin").write_bytes(content)
    app = Starlette(
        routes=[
            Route("/file", lambda request: FileResponse(tmp_path / "file.bin")),
            Mount("/static", StaticFiles(directory=tmp_path)),
        ]
    )

    async with served(app, transport) as peer:
        response = await peer.fetch("/file", headers={"range": "bytes=1000-1999"})
        assert response.status == 206
        assert await response.bytes() == content[1000:2000]
        response = await peer.fetch("/file", method="HEAD")
        assert response.headers["content-length"] == str(len(content))
        assert await response.bytes() == b""
        response = await peer.fetch("/static/file.bin")
        assert await response.bytes() == content
        headers = {"if-none-match": response.headers["etag"]}
        response = await peer.fetch("/static/file.bin", headers=headers)
        assert (response.status, await response.bytes()) == (304, b"")
        response = await peer.fetch("/static/../test.py")
        assert response.status == 404


async def test_endpoints_cookies_and_many_at_once(transport: str) -> None:
    class Page(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            response = PlainTextResponse(request.query_params["number"])
            response.set_cookie("a", "1", path="/x")
            response.set_cookie("b", "2", httponly=True)
            await asyncio.sleep(0.01)
            return response

    app = Starlette(routes=[Route("/", Page)])

    async with served(app, transport) as peer:

        async def ask(number: int) -> None:
            response = await peer.fetch("/", params={"number": number})
            assert await response.text() == str(number)
            assert len(response.headers.getall("set-cookie")) == 2

        await asyncio.gather(*map(ask, range(256)))


async def test_early_hints_and_trailers(transport: str) -> None:
    hinted = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        assert {"http.response.early_hint", "http.response.trailers"} <= scope["extensions"].keys()
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await hinted.wait()
        start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
        await send(start)
        await send({"type": "http.response.body", "body": b"whole"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    def hint(status: int, headers: Any) -> None:
        assert (status, headers["link"]) == (103, "</style.css>; rel=preload")
        hinted.set()

    async with served(Starlette(routes=[Mount("/slow", slow)]), transport) as peer:
        response = await peer.fetch("/slow/", on_informational=hint)
        assert await response.bytes() == b"whole"
        assert response.trailers is not None
        assert response.trailers["x-sum"] == "1"


# -- lives: of applications, of requests, of background tasks ----------------------------------


async def test_lifespan_state_is_shared_by_requests(transport: str) -> None:
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        log.append("startup")
        yield {"count": 1, "list": []}
        log.append("shutdown")

    async def state(request: Request) -> JSONResponse:
        request.state.count += 1
        request.state.list.append(1)
        return JSONResponse([request.state.count, len(request.state.list)])

    app = Starlette(routes=[Route("/", state)], lifespan=lifespan)

    async with served(app, transport) as peer:
        assert log == ["startup"]
        assert await (await peer.fetch("/")).json() == [2, 1]
        assert await (await peer.fetch("/")).json() == [2, 2]
    assert log == ["startup", "shutdown"]


async def test_a_startup_that_fails_is_told() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no camera is plugged in")
        yield

    with pytest.raises(ApplicationError, match="RuntimeError: no camera is plugged in"):
        await serve(Starlette(lifespan=lifespan), signaling="ws://127.0.0.1:1")


async def test_an_application_is_shut_down_when_it_cannot_be_served() -> None:
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        log.append("startup")
        yield
        log.append("shutdown")

    app = Starlette(lifespan=lifespan)
    with pytest.raises(ValueError, match="is no upstream"):
        await serve({"/app": app, "/": "nonsense"}, signaling="ws://127.0.0.1:1")
    assert log == ["startup", "shutdown"]
    with pytest.raises(Exception, match="access token"):
        await serve(app, signaling="ws://127.0.0.1:1", access_token="")
    assert log == ["startup", "shutdown"] * 2


async def test_background_tasks_outlive_their_client(transport: str) -> None:
    go = asyncio.Event()
    done: list[str] = []

    async def later(what: str) -> None:
        await go.wait()
        done.append(what)

    async def begin(request: Request) -> Response:
        return PlainTextResponse("begun", background=BackgroundTask(later, "done"))

    app = Starlette(routes=[Route("/", begin)])

    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    async with await serve(app, signaling=signaling.url) as server:
        async with connect(server.peer_id, signaling=signaling.url) as peer:
            assert await text_of(peer, "/") == "begun"
        await until(lambda: not server.peers)
        assert not done
        go.set()
        await until(lambda: done == ["done"])
    await signaling.close()


async def test_what_a_cancelled_request_leaves(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who listens ends by itself, in whatever time; only who does not is cancelled.
    monkeypatch.setattr(handler, "DISCONNECT_GRACE", 600)
    begun: list[str] = []
    ended: list[str] = []

    async def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"x"
                await asyncio.sleep(1000)
            finally:
                ended.append("stream")

        return StreamingResponse(pieces())

    async def upload(request: Request) -> Response:
        begun.append("upload")
        try:
            async for _ in request.stream():
                pass
        except ClientDisconnect:
            ended.append("upload")
        return Response()

    async def poll(request: Request) -> Response:
        begun.append("poll")
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        ended.append("poll")
        return Response()

    async def deaf(request: Request) -> Response:
        begun.append("deaf")
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("deaf")
        return Response()

    app = Starlette(
        routes=[
            Route("/stream", stream),
            Route("/upload", upload, methods=["POST"]),
            Route("/poll", poll),
            Route("/deaf", deaf),
        ]
    )

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async with served(app, transport) as peer:
        response = await peer.fetch("/stream")
        assert await response.read() == b"x"
        response.close()
        await until(lambda: ended == ["stream"])
        for name in ("poll", "upload", "deaf"):
            if name == "deaf":
                monkeypatch.setattr(handler, "DISCONNECT_GRACE", 0.1)
            body = forever() if name == "upload" else None
            asking = asyncio.ensure_future(peer.fetch(f"/{name}", body=body))
            await until(lambda name=name: name in begun)  # type: ignore[misc]
            asking.cancel()
            await until(lambda name=name: name in ended)  # type: ignore[misc]
        assert (await peer.fetch("/nowhere")).status == 404  # the neighbours go on


# -- WebSockets --------------------------------------------------------------------------------


def websocket_app(endpoint: Callable[[WebSocket], Any]) -> Starlette:
    return Starlette(routes=[WebSocketRoute("/{name}", endpoint)])


async def test_websockets_speak_text_bytes_and_json(transport: str) -> None:
    async def talk(websocket: WebSocket) -> None:
        assert websocket.scope["subprotocols"] == ["chat.1", "chat.2"]
        await websocket.accept("chat.2", [(b"x-one", b"1")])
        await websocket.send_json({"url": str(websocket.url), "name": websocket.path_params})
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.send_text(await websocket.receive_text())
        await websocket.send_json(await websocket.receive_json(), mode="binary")
        async for text in websocket.iter_text():
            await websocket.send_text(text * 2)
        ended.append("iterated")

    ended: list[str] = []

    async with (
        served(websocket_app(talk), transport) as peer,
        await peer.websocket("/a?b=c", subprotocols=["chat.1", "chat.2"]) as websocket,
    ):
        assert (websocket.subprotocol, websocket.headers["x-one"]) == ("chat.2", "1")
        first = await websocket.receive()
        assert first == f'{{"url":"wss://{peer.id}/a?b=c","name":{{"name":"a"}}}}'
        for message in (b"\0\xff", "text ☃"):
            await websocket.send(message)
            assert await websocket.receive() == message
        await websocket.send('{"a":1}')
        await websocket.receive()
        for text in ("x", "yz", "☃" * 100_000):
            await websocket.send(text)
            assert await websocket.receive() == text * 2
        await websocket.close()
        await until(lambda: ended == ["iterated"])


async def test_the_ends_of_websockets(transport: str) -> None:
    seen: list[Any] = []

    async def end(websocket: WebSocket) -> None:
        name = websocket.path_params["name"]
        if name == "denied":
            await websocket.send_denial_response(JSONResponse({"why": "late"}, 410))
            return
        if name == "closed":
            await websocket.close(4000)
            return
        if name == "raises":
            raise ValueError("on purpose")
        await websocket.accept()
        if name == "listens":
            try:
                await websocket.receive_text()
            except WebSocketDisconnect as disconnect:
                seen.append((disconnect.code, disconnect.reason))
        elif name == "sends":
            try:
                while True:
                    await websocket.send_text("x" * 1000)
                    await asyncio.sleep(0.001)
            except WebSocketDisconnect as disconnect:
                seen.append(disconnect.code)
        elif name == "closes":
            await websocket.close(3000, "enough")
        elif name == "fails":
            raise ValueError("on purpose, later")

    async def refusal(peer: Peer, target: str) -> tuple[int, bytes]:
        with pytest.raises(UpgradeRefused) as raised:
            await peer.websocket(target)
        return raised.value.status, raised.value.body

    async def closed(peer: Peer, target: str) -> tuple[int, str]:
        websocket = await peer.websocket(target)
        with pytest.raises(WebSocketClosed) as raised:
            await websocket.receive()
        return raised.value.code, raised.value.reason

    async with served(websocket_app(end), transport) as peer:
        assert await refusal(peer, "/denied") == (410, b'{"why":"late"}')
        assert (await refusal(peer, "/closed"))[0] == 403
        assert (await refusal(peer, "/raises"))[0] == 500
        assert (await refusal(peer, "/no/where"))[0] == 403  # as Starlette has it
        assert await closed(peer, "/closes") == (3000, "enough")
        assert (await closed(peer, "/fails"))[0] == 1011
        assert (await closed(peer, "/returns"))[0] == 1000
        websocket = await peer.websocket("/listens")
        await websocket.close(4321, "bye")
        websocket = await peer.websocket("/listens")
        websocket.abort()
        await until(lambda: len(seen) == 2)
        assert seen[0] == (4321, "bye")
        assert seen[1][0] == 1006
        websocket = await peer.websocket("/sends")
        await websocket.receive()
        websocket.abort()
        await until(lambda: seen[2:] == [1006])


async def test_websocket_endpoints_hear_of_every_end(transport: str) -> None:
    class Echo(WebSocketEndpoint):
        encoding = "json"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await websocket.send_json({"got": data})

        async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
            ended.append(close_code)

    ended: list[int] = []
    app = Starlette(routes=[WebSocketRoute("/", Echo)])

    async with served(app, transport) as peer:
        websocket = await peer.websocket("/")
        await websocket.send('{"a":[1]}')
        assert await websocket.receive() == '{"got":{"a":[1]}}'
        await websocket.close(4001)
        websocket = await peer.websocket("/")
        await websocket.send("no JSON")
        with pytest.raises(WebSocketClosed) as raised:
            await websocket.receive()
        assert raised.value.code == 1003
        await until(lambda: len(ended) == 2)
        assert ended == [4001, 1011]


# -- FastAPI -----------------------------------------------------------------------------------


class Item(BaseModel):
    name: str
    price: float


def fastapi_app(log: list[str]) -> FastAPI:
    async def resource() -> AsyncIterator[str]:
        log.append("opened")
        try:
            yield "resource"
        finally:
            log.append("closed")

    async def known(x_token: str = Header()) -> str:
        if x_token != "right":
            raise HTTPException(401, "who are you?")
        return x_token

    app = FastAPI()
    app.state.log = log

    @app.post("/items", status_code=201)
    async def add(item: Item, background: BackgroundTasks) -> Item:
        background.add_task(log.append, f"stored {item.name}")
        return item

    @app.get("/resource")
    async def use(found: str = Depends(resource), token: str = Depends(known)) -> list[str]:
        return [found, token]

    @app.get("/thread")
    def in_a_thread() -> str:
        return "from a thread"

    @app.websocket("/ws/{name}")
    async def talk(websocket: FastAPIWebSocket, name: str, times: int = 1) -> None:
        if times > 5:
            raise WebSocketException(1008)
        await websocket.accept()
        for _ in range(times):
            await websocket.send_text(f"{name} {await websocket.receive_text()}")

    return app


def test_fastapi_answers_refuses_and_closes_its_dependencies(transport: str) -> None:
    log: list[str] = []

    async def main() -> None:
        async with served(fastapi_app(log), transport) as peer:
            item = {"name": "ä", "price": 1.5}
            response = await peer.fetch("/items", json=item)
            assert (response.status, await response.json()) == (201, item)
            await until(lambda: log == ["stored ä"])
            response = await peer.fetch("/items", json={"name": 1})
            assert response.status == 422
            assert {error["loc"][-1] for error in (await response.json())["detail"]} == {
                "name",
                "price",
            }
            response = await peer.fetch("/resource", headers={"x-token": "right"})
            assert await response.json() == ["resource", "right"]
            response = await peer.fetch("/resource", headers={"x-token": "wrong"})
            assert response.status == 401
            assert await (await peer.fetch("/thread")).json() == "from a thread"
            assert "swagger" in await text_of(peer, "/docs")
            assert "/items" in (await (await peer.fetch("/openapi.json")).json())["paths"]
            async with await peer.websocket("/ws/me?times=2") as websocket:
                for text in ("one", "two"):
                    await websocket.send(text)
                    assert await websocket.receive() == f"me {text}"
            with pytest.raises(UpgradeRefused, match="403"):
                await peer.websocket("/ws/me?times=6")

    run(main())
    assert log.count("opened") == log.count("closed") > 0
