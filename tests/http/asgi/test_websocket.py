"""WebSockets to applications that speak ASGI by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.http.asgi.apps import only, serving

from peerfetch_fast.errors import UpgradeRefused, WebSocketClosed
from peerfetch_fast.http.asgi.handler import DISCONNECT_GRACE
from peerfetch_fast.http.websocket import WebSocket, open_websocket
from support import until, virtually

App = Callable[[Any, Any, Any], Awaitable[None]]


async def accept(receive: Any, send: Any, **options: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **options})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def with_client(app: App, client: Callable[[WebSocket], Awaitable[object]], **options: Any) -> None:
    """Open a WebSocket to ``app`` and let ``client`` use it."""

    async def main() -> None:
        async with serving(only("websocket", app)) as pair:
            await client(await open_websocket(pair.client, **({"target": "/"} | options)))
            await until(lambda: pair.server.open_streams == 0)

    virtually(main())


def refused(app: App) -> UpgradeRefused:
    async def main() -> UpgradeRefused:
        async with serving(only("websocket", app)) as pair:
            with pytest.raises(UpgradeRefused) as raised:
                await open_websocket(pair.client, "/")
            return raised.value

    return virtually(main())


async def receive_close(websocket: WebSocket) -> tuple[int, str]:
    with pytest.raises(WebSocketClosed) as raised:
        while True:
            await websocket.receive()
    return raised.value.code, raised.value.reason


def test_the_scope_and_the_answer() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await accept(receive, send, subprotocol="b", headers=[(b"X-Two", b"2")])

    async def client(websocket: WebSocket) -> None:
        assert websocket.subprotocol == "b"
        assert websocket.headers["x-two"] == "2"
        assert await receive_close(websocket) == (1000, "")

    headers = {"X-One": "1"}
    with_client(app, client, target="/a%20b?c", subprotocols=["a", "b"], headers=headers)
    (scope,) = seen
    assert "method" not in scope
    expected = {
        "type": "websocket",
        "scheme": "wss",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c",
        "headers": [(b"x-one", b"1"), (b"sec-websocket-protocol", b"a, b")],
        "subprotocols": ["a", "b"],
        "extensions": {"websocket.http.response": {}},
        "server": None,
        "peerfetch": {"person": None},
        "state": {},
    }
    assert expected.items() <= scope.items()


def test_messages_of_either_kind_come_back_whole() -> None:
    async def client(websocket: WebSocket) -> None:
        for message in ("hello ☃", b"\0\xff", "", b"", bytes(1_000_000)):
            await websocket.send(message)
            assert await websocket.receive() == message
        await websocket.close()

    with_client(echo, client)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "enough"), (1005, "")])
def test_a_close_of_the_client_is_a_disconnect_with_its_code(code: int, reason: str) -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        heard.extend([await receive(), await receive()])
        with pytest.raises(OSError, match="is gone"):
            await send({"type": "websocket.send", "text": "late"})

    async def client(websocket: WebSocket) -> None:
        await websocket.close(code, reason)
        assert websocket.close_code == code

    with_client(app, client)
    assert heard == [{"type": "websocket.disconnect", "code": code, "reason": reason}] * 2


def test_a_close_of_the_application_comes_behind_its_last_message() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.send", "text": "last words"})
        await send({"type": "websocket.close", "code": 3000, "reason": "enough"})
        assert (await receive())["type"] == "websocket.disconnect"

    async def client(websocket: WebSocket) -> None:
        assert await websocket.receive() == "last words"
        assert await receive_close(websocket) == (3000, "enough")

    with_client(app, client)


def test_an_application_that_fails_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        raise ValueError("on purpose")

    async def client(websocket: WebSocket) -> None:
        assert await receive_close(websocket) == (1011, "")

    with_client(app, client)
    assert "on purpose" in caplog.text


def test_a_client_that_breaks_the_rules() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        heard.append(await receive())

    async def client(websocket: WebSocket) -> None:
        websocket._write_nowait(b"\x03\x00\x00\x01x")  # an unknown frame, then one that is wrong
        assert (await receive_close(websocket))[0] == 1002

    with_client(app, client)
    assert heard[0]["code"] == 1002


@pytest.mark.parametrize("listening", [True, False])
def test_a_client_that_goes_away(listening: bool) -> None:
    heard: list[Any] = []
    ended: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        try:
            if listening:
                heard.append(await receive())
            else:
                await asyncio.sleep(1000)
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def client(websocket: WebSocket) -> None:
        await asyncio.sleep(3)
        ended.append(asyncio.get_running_loop().time())
        websocket.abort()

    with_client(app, client)
    assert [message["code"] for message in heard] == [1006] * listening
    expected = 0 if listening else DISCONNECT_GRACE
    assert ended[1] - ended[0] == pytest.approx(expected, abs=0.05)


def test_a_client_that_goes_away_before_it_is_accepted() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        heard.append(await receive())
        with pytest.raises(OSError, match="is gone"):
            await send({"type": "websocket.accept"})

    async def main() -> None:
        async with serving(only("websocket", app)) as pair:
            opening = asyncio.ensure_future(open_websocket(pair.client, "/"))
            await asyncio.sleep(1)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await opening
            await until(lambda: pair.server.open_streams == 0)

    virtually(main())
    assert [message["type"] for message in heard] == ["websocket.connect", "websocket.disconnect"]


def test_a_client_that_reads_nothing_stops_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await accept(receive, send)
        for _ in range(300):
            await send({"type": "websocket.send", "bytes": bytes(50_000)})
            sent += 50_000

    sent = 0

    async def client(websocket: WebSocket) -> None:
        await asyncio.sleep(10)
        assert 0 < sent < 4_000_000
        assert sum([len(message) async for message in websocket]) == 15_000_000

    with_client(app, client)


# -- refusals ----------------------------------------------------------------------------------


def test_a_close_before_accepting_is_answered_with_403() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        assert (await receive())["type"] == "websocket.disconnect"

    assert refused(app).status == 403


def test_a_refusal_with_an_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = "websocket.http.response"
        headers = [(b"www-authenticate", b"Basic")]
        await send({"type": f"{response}.start", "status": 401, "headers": headers})
        await send({"type": f"{response}.body", "body": b"who ", "more_body": True})
        await send({"type": f"{response}.body", "body": b"are you?"})

    answer = refused(app)
    assert (answer.status, answer.body) == (401, b"who are you?")
    assert answer.headers["www-authenticate"] == "Basic"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("on purpose")


async def early(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.send", "text": "before accept"})


async def injection(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept", "subprotocol": "a\r\nb: c"})


@pytest.mark.parametrize("app", [nothing, raises, early])
def test_what_applications_get_wrong_is_a_500(app: App) -> None:
    assert refused(app).status == 500


async def success(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 200})
    await send({"type": "websocket.http.response.body"})


@pytest.mark.parametrize(("app", "status"), [(success, 501), (injection, 500)])
def test_heads_that_cannot_be_sent(app: App, status: int) -> None:
    assert refused(app).status == status


async def accepts_twice(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.accept"})


async def odd_code(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1006})


@pytest.mark.parametrize("app", [accepts_twice, odd_code])
def test_what_applications_get_wrong_later_is_a_1011(app: App) -> None:
    async def client(websocket: WebSocket) -> None:
        assert (await receive_close(websocket))[0] == 1011

    with_client(app, client)
