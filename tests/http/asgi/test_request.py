"""HTTP requests to applications that speak ASGI by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.http.asgi.apps import body, only, serving, start

from peerfetch_fast.errors import StreamReset
from peerfetch_fast.http import codes
from peerfetch_fast.http.asgi.handler import DISCONNECT_GRACE, AsgiHandler
from peerfetch_fast.http.blocks import DATA, block_header
from peerfetch_fast.http.heads import Headers, encode_request
from peerfetch_fast.http.server import Exchange
from support import http_pair, read_all, until, virtually

App = Callable[[Any, Any, Any], Awaitable[None]]


def answered(app: App, **options: Any) -> tuple[int, bytes]:
    """Status and body of the answer to one request."""

    async def main() -> tuple[int, bytes]:
        async with serving(only("http", app)) as pair:
            response = await pair.fetch(**({"target": "/"} | options))
            return response.status, await response.bytes()

    return virtually(main())


def test_the_scope_holds_what_asgi_says() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await start(send)
        await body(send)

    async def main() -> None:
        async with serving(only("http", app)) as pair:
            await pair.fetch(
                "/a%20b/%C3%A4%2Fc?x=%C3%A4&y=1+2",
                method="PUT",
                headers=[("X-One", "ä"), ("Host", "evil"), ("X-One", "2"), ("Accept", "*/*")],
            )

    virtually(main())
    (scope,) = seen
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": "PUT",
        "scheme": "https",
        "path": "/a b/ä/c",
        "raw_path": b"/a%20b/%C3%A4%2Fc",
        "query_string": b"x=%C3%A4&y=1+2",
        "root_path": "",
        "headers": [(b"x-one", b"\xe4"), (b"x-one", b"2"), (b"accept", b"*/*")],
        "server": None,
        "client": None,
        "peerfetch": {"person": None},
        "state": {},
        "extensions": {
            "http.response.trailers": {},
            "http.response.early_hint": {},
            "peerfetch.resources": {},
        },
    }


def test_a_scope_below_a_path_and_of_a_known_client() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await start(send)
        await body(send)

    async def main() -> None:
        handler = AsgiHandler(app)

        async def routed(exchange: Exchange) -> None:
            exchange.client, exchange.server = "some-peer", "other peer"
            exchange.prefix = "/%C3%A4"
            await handler(exchange)

        async with http_pair(routed) as pair:
            await pair.fetch("/b?c")

    virtually(main())
    (scope,) = seen
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/ä", "/ä/b", b"/%C3%A4/b")
    assert scope["client"] == ("some-peer", 0)
    assert scope["server"] == ("other-peer", 443)
    assert scope["headers"][0] == (b"host", b"other-peer")


def test_an_applications_pages_are_its_own_and_no_others() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))
        await start(send)
        await body(send)

    async def main() -> None:
        handler = AsgiHandler(app)

        async def known(exchange: Exchange) -> None:
            exchange.client, exchange.server, exchange.address = "them", "device", "192.0.2.7"
            await handler(exchange)

        async with http_pair(known) as pair:
            for origin in ("peer://device", "peer://other", "null"):
                fields = {
                    "Origin": origin,
                    "Referer": f"{origin}/a",
                    "Forwarded": 'host="localhost:8080";proto=http',
                    "X-Forwarded-For": "127.0.0.1",
                    "X-Real-IP": "127.0.0.1",
                }
                await pair.fetch("/", headers=fields)

    virtually(main())
    own, other, null = seen
    assert own[b"origin"] == b"https://" + own[b"host"]
    assert own[b"referer"] == b"https://device/a"
    assert own[b"x-forwarded-host"] == b"localhost:8080"
    assert own[b"x-forwarded-for"] == b"192.0.2.7"
    assert b"x-real-ip" not in own
    assert (other[b"origin"], null[b"origin"]) == (b"peer://other", b"null")


@pytest.mark.virtual_time
async def test_what_names_the_application_is_translated() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        location = b"https://device/api/x?y"
        cookies = [(b"set-cookie", b"a=1; Domain=device; Path=/api"), (b"set-cookie", b"b=2")]
        link = (b"link", b"<https://device/x>")
        await start(send, 302, headers=[(b"location", location), *cookies, link])
        await body(send)

    handler = AsgiHandler(app)

    async def routed(exchange: Exchange) -> None:
        exchange.server, exchange.prefix = "device", "/api"
        await handler(exchange)

    async with http_pair(routed) as pair:
        response = await pair.fetch("/", redirect="manual")
        assert list(response.headers.items()) == [
            ("location", "/api/x?y"),
            ("set-cookie", "a=1; Path=/api"),
            ("set-cookie", "b=2"),
            ("link", "<https://device/x>"),
        ]


def test_each_request_has_its_own_copy_of_the_state() -> None:
    states: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["shared"] = []
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scope["state"]["own"] = len(states)
        states.append(scope["state"])
        await start(send)
        await body(send)

    async def main() -> None:
        async with serving(app) as pair:
            for _ in range(2):
                await pair.fetch("/")

    virtually(main())
    assert states == [{"shared": [], "own": 0}, {"shared": [], "own": 1}]
    assert states[0]["shared"] is states[1]["shared"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("target", ["//evil/x", "http://evil/", "*"])
async def test_targets_that_are_none(target: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    async with serving(only("http", app)) as pair:
        stream = await pair.client.open_stream()
        stream.write_nowait(encode_request("GET", target, []))
        stream.end()
        assert b'"status":400' in await read_all(stream)


# -- bodies ------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_the_body_streams_both_ways() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 201, headers=[(b"X-Two", b"1"), (b"x-two", b"\xe4")])
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            more = message["more_body"]
            await body(send, message["body"], more_body=more)

    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d" % number
            # The answer comes while the request is being sent.
            assert await heard.get() == b"%d" % number

    async with serving(only("http", echo)) as pair:
        response = await pair.fetch("/", method="POST", body=pieces())
        assert response.status == 201
        assert response.headers.getall("x-two") == ["1", "ä"]
        async for piece in response:
            heard.put_nowait(piece)


@pytest.mark.virtual_time
async def test_a_slow_client_stops_the_application() -> None:
    sent = 0

    async def pour(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await start(send)
        for _ in range(1000):
            await body(send, bytes(10_000), more_body=True)
            sent += 10_000
        await body(send)

    async with serving(only("http", pour)) as pair:
        response = await pair.fetch("/")
        await asyncio.sleep(10)
        limits = pair.client.settings
        assert 0 < sent < limits.initial_max_stream_data + limits.send_buffer + 100_000
        assert len(await response.bytes()) == 10_000_000


@pytest.mark.virtual_time
async def test_a_slow_application_stops_the_client() -> None:
    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        total = 0
        while (message := await receive())["more_body"]:
            total += len(message["body"])
        await start(send)
        await body(send, b"%d" % total)

    go = asyncio.Event()
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            yield bytes(10_000)
            taken += 10_000

    async with serving(only("http", wait)) as pair:
        fetching = asyncio.ensure_future(pair.fetch("/", body=pieces()))
        await asyncio.sleep(10)
        limits = pair.client.settings
        assert 0 < taken < limits.initial_max_stream_data + limits.send_buffer + 100_000
        go.set()
        assert await (await fetching).bytes() == b"10000000"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body(method: str, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, status, headers=[(b"content-length", b"5")])
        await body(send, b"hello")

    assert answered(app, method=method) == (status, b"")


@pytest.mark.virtual_time
async def test_the_head_does_not_wait_for_the_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 201)
        await go.wait()
        await body(send, b"x")

    go = asyncio.Event()

    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/")
        assert response.status == 201
        go.set()
        assert await response.bytes() == b"x"


async def raises_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("on purpose")


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def no_start(scope: Any, receive: Any, send: Any) -> None:
    await body(send, b"x")


async def odd_status(scope: Any, receive: Any, send: Any) -> None:
    await start(send, 101)


async def injection(scope: Any, receive: Any, send: Any) -> None:
    await start(send, headers=[(b"x-one", b"1\r\nx-two: 2")])
    await body(send)


async def large_head(scope: Any, receive: Any, send: Any) -> None:
    await start(send, headers=[(b"x-one", b"1" * 70_000)])
    await body(send)


async def bad_length(scope: Any, receive: Any, send: Any) -> None:
    await start(send, headers=[(b"content-length", b"-1")])
    await body(send)


async def unknown(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.nonsense"})


async def bad_hint(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"\n"]})


async def early_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.trailers", "headers": []})


@pytest.mark.parametrize(
    "app",
    [
        nothing,
        no_start,
        raises_at_once,
        odd_status,
        injection,
        large_head,
        bad_length,
        unknown,
        bad_hint,
        early_trailers,
    ],
)
def test_what_applications_get_wrong_is_a_500(app: App) -> None:
    assert answered(app)[0] == 500


async def raises(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await body(send, b"half", more_body=True)
    raise ValueError("on purpose")


async def two_starts(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await start(send)


async def no_body(scope: Any, receive: Any, send: Any) -> None:
    await start(send)


async def returns(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await body(send, b"half", more_body=True)


async def too_short(scope: Any, receive: Any, send: Any) -> None:
    await start(send, headers=[(b"content-length", b"5")])
    await body(send, b"half")


async def too_long(scope: Any, receive: Any, send: Any) -> None:
    await start(send, headers=[(b"content-length", b"3")])
    await body(send, b"ha", more_body=True)
    await body(send, b"lf")


async def no_trailers(scope: Any, receive: Any, send: Any) -> None:
    await start(send, trailers=True)
    await body(send, b"half")


async def large_trailers(scope: Any, receive: Any, send: Any) -> None:
    await start(send, trailers=True)
    await body(send, b"half")
    await send({"type": "http.response.trailers", "headers": [(b"x", b"1" * 70_000)]})


async def late_hint(scope: Any, receive: Any, send: Any) -> None:
    await start(send)
    await body(send, b"half", more_body=True)
    await send({"type": "http.response.early_hint", "links": [b"</x>"]})


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "app",
    [
        raises,
        returns,
        two_starts,
        no_body,
        too_short,
        too_long,
        no_trailers,
        large_trailers,
        late_hint,
    ],
)
async def test_half_a_body_never_looks_whole(app: App) -> None:
    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/")
        assert response.status == 200
        with pytest.raises(StreamReset) as raised:
            await response.bytes()
        assert raised.value.code == codes.INTERNAL_ERROR


def test_more_after_the_answer_is_an_error_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"whole")
        await body(send, b"more")

    assert answered(app) == (200, b"whole")
    assert "before its answer began or after it" in caplog.text


@pytest.mark.virtual_time
async def test_a_request_body_that_is_broken() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        await start(send)
        await body(send, b"whole")

    async with serving(only("http", app)) as pair:
        stream = await pair.client.open_stream()
        stream.write_nowait(encode_request("POST", "/", [("content-length", "5")]))
        stream.write_nowait(block_header(DATA, 3) + b"abc")
        stream.end()
        assert b'"status":400' in await read_all(stream)


# -- trailers and informational answers --------------------------------------------------------


@pytest.mark.virtual_time
async def test_trailers_are_sent_behind_the_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, trailers=True)
        await body(send, b"x")
        trailers = {"type": "http.response.trailers"}
        await send({**trailers, "headers": [(b"X-Sum", b"1")], "more_trailers": True})
        await send({**trailers, "headers": [(b"x-sum", b"2"), (b"connection", b"close")]})

    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/")
        assert await response.bytes() == b"x"
        assert response.trailers is not None
        assert list(response.trailers.items()) == [("x-sum", "1"), ("x-sum", "2")]


@pytest.mark.virtual_time
async def test_early_hints_come_early() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        links = [b"</style.css>; rel=preload", b"</app.js>; rel=preload"]
        await send({"type": "http.response.early_hint", "links": links})
        await go.wait()
        await start(send)
        await body(send, b"x")

    go = asyncio.Event()

    hints: list[Any] = []

    def hinted(status: int, headers: Headers) -> None:
        hints.append((status, list(headers.items())))
        go.set()  # what is fetched early lets the answer come

    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/", on_informational=hinted)
        assert response.status == 200
        assert await response.bytes() == b"x"
    links = ["</style.css>; rel=preload", "</app.js>; rel=preload"]
    assert hints == [(103, [("link", link) for link in links])]


# -- clients that go away ----------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_an_application_that_listens_hears_of_it_at_once() -> None:
    heard: list[str] = []
    times: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert not (await receive())["more_body"]
        await start(send)
        await body(send, b"x", more_body=True)
        for _ in range(2):
            heard.append((await receive())["type"])
        times.append(asyncio.get_running_loop().time())
        await body(send, b"for nobody", more_body=True)
        await body(send)

    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/")
        assert await response.read() == b"x"
        await asyncio.sleep(5)
        times.append(asyncio.get_running_loop().time())
        response.close()
        await until(lambda: pair.server.open_streams == 0)
    assert heard == ["http.disconnect"] * 2
    assert times[1] - times[0] < 0.01


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_application_that_does_not_listen_is_cancelled(stubborn: bool) -> None:
    events: list[tuple[str, float]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            events.append(("cancelled", clock() - began))
            if stubborn:
                await asyncio.sleep(50)
                events.append(("ended", clock() - began))
                raise ValueError("for nobody") from None
            raise

    async def main() -> None:
        async with serving(only("http", app)) as pair:
            fetching = asyncio.ensure_future(pair.fetch("/"))
            await asyncio.sleep(3)
            fetching.cancel()
            await until(lambda: bool(events))
            await asyncio.sleep(DISCONNECT_GRACE + 0.1)
            assert pair.server.open_streams == 0
            await asyncio.sleep(100)

    virtually(main())
    expected = [("cancelled", pytest.approx(3 + DISCONNECT_GRACE, abs=0.01))]
    if stubborn:
        expected.append(("ended", pytest.approx(53 + DISCONNECT_GRACE, abs=0.01)))
    assert events == expected


async def test_one_that_only_sends_is_cancelled_too() -> None:
    ended = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal ended
        await start(send)
        try:
            while True:
                await body(send, b"x", more_body=True)
        finally:
            ended = True

    async with serving(only("http", app)) as pair:
        response = await pair.fetch("/")
        await response.read()
        response.close()
        await until(lambda: ended)


@pytest.mark.virtual_time
async def test_an_upload_that_is_cancelled_is_a_disconnect() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            heard.append(message["body"])
        heard.append(message["type"])

    async with serving(only("http", app)) as pair:
        stream = await pair.client.open_stream()
        stream.write_nowait(encode_request("POST", "/", []))
        stream.write_nowait(block_header(DATA, 3) + b"abc")
        await asyncio.sleep(1)
        stream.cancel(codes.REQUEST_CANCELLED)
        await until(lambda: pair.server.open_streams == 0)
    assert heard == [b"abc", "http.disconnect"]


def test_the_session_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        heard.append((await receive())["type"])

    async def main() -> None:
        async with serving(only("http", app)) as pair:
            fetching = asyncio.ensure_future(pair.fetch("/"))
            await asyncio.sleep(1)
            pair.client.abort()
            await asyncio.wait((fetching,))
            fetching.exception()
        assert heard == ["http.disconnect"]

    virtually(main())
    assert not caplog.records


# -- background tasks --------------------------------------------------------------------------


def test_an_application_may_go_on_after_its_answer() -> None:
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send)
        await body(send, b"whole")
        done.append((await receive())["type"])
        await asyncio.sleep(5)
        done.append("background")

    async def main() -> None:
        async with serving(only("http", app)) as pair:
            assert await (await pair.fetch("/")).bytes() == b"whole"
            await until(lambda: pair.server.open_streams == 0)
        # The session is over, and what was begun goes on.

    virtually(main())
    assert done == ["http.disconnect", "background"]


def test_background_tasks_that_fail_or_never_end(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"whole")
        if scope["path"] == "/fails":
            raise ValueError("on purpose")
        await asyncio.sleep(10_000)

    async def main() -> None:
        async with serving(only("http", app)) as pair:
            for target in ("/fails", "/never"):
                assert await (await pair.fetch(target)).bytes() == b"whole"

    virtually(main())
    assert "on purpose" in caplog.text
