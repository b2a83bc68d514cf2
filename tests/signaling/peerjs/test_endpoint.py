"""How a client gets at a server, and what it says when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from peerfetch_fast.errors import IdTaken, SignalingError
from peerfetch_fast.signaling.http_client import HttpClient
from peerfetch_fast.signaling.peerjs.endpoint import Endpoint
from peerfetch_fast.signaling.peerjs.messages import Message, MessageType
from peerfetch_fast.signaling.peerjs.settings import SignalingClientSettings
from support import run, web_server

TOKEN = "secret-token"  # a name: tracebacks show the lines of this file too
PATIENT = SignalingClientSettings(open_timeout=60.0, close_timeout=0.2)


async def ask_for_id(url: str, settings: SignalingClientSettings = PATIENT) -> str:
    with contextlib.closing(HttpClient(None)) as http:
        return await Endpoint(url, settings).ask_for_id(http)


async def knock(
    url: str,
    settings: SignalingClientSettings = PATIENT,
    *,
    may_resume: bool = False,
    on_message: Callable[[Message], None] = lambda message: None,
) -> None:
    """Open a WebSocket and hang up again."""
    endpoint = Endpoint(url, settings)
    with contextlib.closing(HttpClient(None)) as http:
        socket = await endpoint.open(
            http, "alice", TOKEN, may_resume=may_resume, on_message=on_message
        )
        await endpoint.hang_up(socket)


@asynccontextmanager
async def answering(
    response: Callable[[], web.StreamResponse], ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A web server that answers everything alike."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return response()

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with web_server(app, tls=ssl_context) as url:
        yield url.replace("http", "ws")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://host:9000", "http://host:9000"),
        ("ws://host:9000/", "http://host:9000/"),
        ("wss://host/my/app", "https://host/my/app"),
        ("http://[::1]:9000/app/", "http://[::1]:9000/app"),
        ("HTTPS://host", "https://host"),
    ],
)
@pytest.mark.parametrize("key", ["peerjs", "other"])
def test_the_urls_are_derived_from_one(url: str, base: str, key: str) -> None:
    asked: list[URL] = []

    class Nowhere(HttpClient):
        async def request(self, method: str, url: URL, **_: object) -> Any:
            asked.append(url)
            raise OSError

        async def websocket(self, url: URL, **_: object) -> Any:
            asked.append(url)
            raise OSError

    async def main() -> None:
        endpoint = Endpoint(url if key == "peerjs" else f"{url}?key={key}", PATIENT)
        http = Nowhere(None)
        with pytest.raises(SignalingError):
            await endpoint.ask_for_id(http)
        with pytest.raises(SignalingError):
            await endpoint.open(http, "a b", "t", may_resume=False, on_message=lambda _: None)

    run(main())
    base = base.rstrip("/")
    (id_url, socket_url) = asked
    assert str(id_url.with_query(None)) == f"{base}/{key}/id"
    assert str(socket_url.with_query(None)) == f"{base}/peerjs"
    query = socket_url.query
    assert {**query, "version": ""} == {"key": key, "id": "a b", "token": "t", "version": ""}
    assert id_url.query["version"]
    assert query["version"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9000",
        "//host",
        "ftp://host",
        "ws://",
        "ws://host:99999",
        "ws://user:password@host",
        "ws://[::1",
    ],
)
def test_unusable_urls_are_refused_with_an_example(url: str) -> None:
    with pytest.raises(SignalingError, match="write ws://HOST:PORT"):
        Endpoint(url, PATIENT)


@pytest.mark.parametrize("key", ["", "a/b", "a b"])
def test_unusable_keys_are_refused(key: str) -> None:
    with pytest.raises(SignalingError, match="key"):
        Endpoint(str(URL("ws://host").with_query(key=key)), PATIENT)


@pytest.mark.parametrize("ask", [ask_for_id, knock])
async def test_nobody_there_is_reported_with_the_url(ask: Any) -> None:
    listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(SignalingError, match=f"ws://127.0.0.1:{port} cannot be reached"):
        await ask(f"ws://127.0.0.1:{port}")


@pytest.mark.parametrize("ask", [ask_for_id, knock])
async def test_a_name_that_cannot_be_one_is_reported(ask: Any) -> None:
    with pytest.raises(SignalingError, match=r"ws://a\.\.b cannot be reached"):
        await ask("ws://a..b")


@pytest.mark.parametrize("ask", [ask_for_id, knock])
@pytest.mark.parametrize("status", [302, 404, 500])
async def test_another_kind_of_server_is_told_by_its_status(ask: Any, status: int) -> None:
    headers = {"Location": "/elsewhere"}
    async with answering(lambda: web.Response(status=status, headers=headers)) as url:
        words = f"{url} answered with HTTP status {status}"
        with pytest.raises(SignalingError, match=words) as caught:
            await ask(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"\xff\xfe", b"a" * 5_000_000])
async def test_what_is_no_id_is_not_taken_for_one(body: bytes) -> None:
    async with answering(lambda: web.Response(body=body)) as url:
        with pytest.raises(SignalingError, match="gave no peer id"):
            await ask_for_id(url)


async def test_an_id_without_end_is_not_read_to_its_end() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"a" * 1000)
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(SignalingError, match="gave no peer id"):
        await ask_for_id(url)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("ask", [ask_for_id, knock])
async def test_a_server_that_never_answers_is_given_up(ask: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        while await reader.read(1000):
            pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(SignalingError, match=f"{url} did not answer within 0.3 s"):
        await ask(url, SignalingClientSettings(open_timeout=0.3, close_timeout=0.1))
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("ask", [ask_for_id, knock])
async def test_a_certificate_that_nobody_vouches_for_is_refused(ask: Any, tmp_path: Path) -> None:
    async with answering(lambda: web.Response(text="given"), _self_signed(tmp_path)) as url:
        with pytest.raises(SignalingError, match=f"{url} could not be verified"):
            await ask(url)


def _self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_the_server_lets_us_in_with_open(scripted: Any) -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str("no json")
        await socket.send_bytes(b"\x00")
        await socket.send_json({"type": "HEARTBEAT"})
        await socket.send_json({"type": "OPEN"})
        await socket.receive()

    async with scripted(script) as server:
        await knock(server.url)
        assert server.queries[0]["id"] == "alice"


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}, IdTaken, "alice is taken at ws:"),
        ({"type": "ERROR", "payload": {"msg": "too many"}}, SignalingError, "ws:.*too many"),
        (
            {"type": "ERROR", "payload": {"msg": "\x1b[2J" * 999}},
            SignalingError,
            r"refused us: \\x1b\[2J",
        ),
        ({"type": "ERROR", "payload": [1]}, SignalingError, "refused us"),
        ({"type": "ERROR"}, SignalingError, "refused us"),
    ],
)
@pytest.mark.parametrize("may_resume", [True, False])
async def test_refusals_are_typed_and_name_the_server(
    scripted: Any,
    answer: dict[str, Any],
    error: type[SignalingError],
    words: str,
    may_resume: bool,
) -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_json(answer)
        await socket.close()

    async with scripted(script) as server:
        with pytest.raises(error, match=words) as caught:
            await knock(server.url, may_resume=may_resume)
        assert TOKEN not in str(caught.value)
        assert len(str(caught.value)) < 1000


async def test_a_server_that_hangs_up_is_reported(scripted: Any) -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.close()

    async with scripted(script) as server:
        with pytest.raises(SignalingError, match=f"{server.url} hung up"):
            await knock(server.url)


async def say_nothing(socket: web.WebSocketResponse) -> None:
    await socket.receive()


async def test_a_first_connection_must_be_let_in_with_a_word(scripted: Any) -> None:
    async with scripted(say_nothing) as server:
        with pytest.raises(SignalingError, match="did not answer"):
            await knock(server.url, SignalingClientSettings(open_timeout=0.3, close_timeout=0.1))


async def test_a_resumed_connection_is_open_without_a_word(scripted: Any) -> None:
    async with scripted(say_nothing) as server:
        await knock(server.url, may_resume=True)


async def test_what_comes_with_a_resumed_connection_is_not_lost(scripted: Any) -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OFFER", "src": "bob", "dst": "alice", "payload": 1})
        await socket.receive()

    came: list[Message] = []
    async with scripted(script) as server:
        await knock(server.url, may_resume=True, on_message=came.append)
    assert came == [Message(MessageType.OFFER, "bob", "alice", 1)]


@given(st.text())
def test_no_text_from_a_server_raises(text: str) -> None:
    logging.getLogger("peerfetch_fast.signaling.peerjs.endpoint").setLevel(logging.DEBUG)
    message = Endpoint("ws://host", PATIENT).parse(text)
    assert message is None or isinstance(message, Message)


@pytest.mark.virtual_time
async def test_a_server_that_does_not_agree_to_a_close_is_left_after_the_close_timeout() -> None:
    class Deaf:
        async def close(self) -> None:
            await asyncio.sleep(1000)

    deaf: Any = Deaf()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await Endpoint("ws://127.0.0.1:9000", SignalingClientSettings(close_timeout=3.0)).hang_up(deaf)
    assert loop.time() - began == pytest.approx(3.0)
