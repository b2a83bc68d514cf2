"""What was said on bare sockets, and what has to come of it: the table of test_raw_http.py.

Each case has its source: an issue of somebody else's tracker, or the paragraph that decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.http.raw import OK, Answering

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
LARGE = b"x" * 5_000_000


@dataclass(frozen=True)
class Case:
    """One exchange. Names of fields are compared in lower case, everything else as it is.

    :ivar name: says it in words.
    :ivar source: where it was met, or is decided.
    :ivar asked: what the program says.
    :ivar doing: what the upstream does.
    :ivar reaches: what is in what reaches the upstream.
    :ivar misses: what is not in it.
    :ivar count: requests that reach it; None where that may differ.
    :ivar gets: what is in what the program gets.
    :ivar lacks: what is not in it.
    :ivar saying: more of :func:`~tests.http.raw.said_to`.
    :ivar elsewhere: how nginx differs, as other values of these.
    :ivar why: it does.
    """

    name: str
    source: str
    asked: bytes
    doing: Answering = field(default_factory=Answering)
    reaches: tuple[bytes, ...] = ()
    misses: tuple[bytes, ...] = ()
    count: int | None = 1
    gets: tuple[bytes, ...] = (b"HTTP/1.1 200",)
    lacks: tuple[bytes, ...] = ()
    saying: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def of_nginx(self) -> Case:
        """The same of nginx."""
        return replace(self, **self.elsewhere)


def get(target: bytes = b"/", more: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + more + CLOSE + b"\r\n"


def post(more: bytes, body: bytes, method: bytes = b"POST") -> bytes:
    return method + b" / HTTP/1.1\r\n" + HOST + more + CLOSE + b"\r\n" + body


def answer(*fields: bytes, status: bytes = b"200 OK", body: bytes = b"ok") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", body])


LENGTH = b"Content-Length: 2"
REFUSED: dict[str, Any] = {"count": 0, "gets": (b"HTTP/1.1 400",)}

# -- targets and heads of requests --------------------------------------------------------------

REQUESTS = [
    Case(
        "the question mark of an empty query",
        "aio-libs/yarl#293",
        get(b"/a?"),
        reaches=(b"GET /a? HTTP/1.1\r\n",),
    ),
    Case(
        "two slashes at the beginning",
        "traefik/traefik#1323",
        get(b"//static/5a/user.png"),
        reaches=(b"GET //static/5a/user.png HTTP/1.1\r\n",),
    ),
    Case(
        "an encoded slash",
        "Kludex/uvicorn#261",
        get(b"/fixtures/table%2Fwith%2Fslashes.csv"),
        reaches=(b"GET /fixtures/table%2Fwith%2Fslashes.csv HTTP/1.1\r\n",),
    ),
    Case(
        "encoded characters, upper and lower case, that need not be",
        "traefik/traefik#684",
        get(b"/t/http%3a%2F%2Flocalhost%3A8000%2Fmanage/%7Euser"),
        reaches=(b"GET /t/http%3a%2F%2Flocalhost%3A8000%2Fmanage/%7Euser HTTP/1.1\r\n",),
    ),
    Case(
        "semicolons in the query",
        "aio-libs/aiohttp#2235",
        get(b"/get?test=foo;bar&a=%3B;&&=+"),
        reaches=(b"GET /get?test=foo;bar&a=%3B;&&=+ HTTP/1.1\r\n",),
    ),
    Case(
        "characters that URLs may not have, as they are",
        "microsoft/PyRIT#1494",
        get(b'/a|b^{c}"<d>`[e]?x={y}|z&alpha=&beta'),
        reaches=(b'/a|b^{c}"<d>`[e]?x={y}|z&alpha=&beta HTTP/1.1\r\n',),
    ),
    Case(
        "raw UTF-8 in the target",
        "Kludex/uvicorn#344",
        get("/👽/à?ü".encode()),
        reaches=(b"GET /%F0%9F%91%BD/%C3%A0?%C3%BC HTTP/1.1\r\n",),
        elsewhere={"reaches": ("GET /👽/à?ü HTTP/1.1\r\n".encode(),)},
        why="targets are ASCII in peerfetch.2, and so percent-encoded; nginx sends octets",
    ),
    Case(
        "octets in the target that are no UTF-8",
        "benoitc/gunicorn#1577",
        get(b"/\xe0\x20k".replace(b"\x20", b"%20")),
        reaches=(b"GET /%E0%20k HTTP/1.1\r\n",),
        elsewhere={"reaches": (b"GET /\xe0%20k HTTP/1.1\r\n",)},
        why="as above",
    ),
    Case(
        "a method that nobody knows",
        "Kludex/uvicorn#1296",
        get(method=b"MUX"),
        reaches=(b"MUX / HTTP/1.1\r\n",),
    ),
    Case(
        "a method as it is, where nobody knows it",
        "RFC 9110 §9.1",
        get(method=b"M-search"),
        reaches=(b"M-search / HTTP/1.1\r\n",),
        elsewhere={**REFUSED, "reaches": ()},
        why="nginx takes A to Z, _ and - in methods; RFC 9110 takes any token",
    ),
    Case(
        "octets of a field's value that are no ASCII",
        "Kludex/uvicorn#968",
        get(more="X-Test: Abraão ".encode() + b"\xe9\xff\r\n"),
        reaches=(b"x-test: Abra\xc3\xa3o \xe9\xff\r\n",),
    ),
    Case(
        "a field twice, another between, in order",
        "RFC 9110 §5.3",
        get(more=b"X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n"),
        reaches=(b"x-a: 1\r\nx-b: 2\r\nx-a: 3\r\n",),
    ),
    Case(
        "an empty value, and one with spaces around",
        "psf/requests#3488",
        get(more=b"X-Empty:\r\nX-Spaces: \t a  b \t\r\n"),
        reaches=(b"x-empty: \r\n", b"x-spaces: a  b\r\n"),
        elsewhere={"reaches": (b"x-empty: \r\n", b"x-spaces: \t a  b \t\r\n")},
        why="nginx passes on the space around a value, which is no part of it (RFC 9110 §5.5)",
    ),
    Case(
        "nothing is added to a request",
        "aio-libs/aiohttp#457",
        post(b"Content-Length: 2\r\n", b"ok"),
        reaches=(b"content-length: 2\r\n",),
        misses=(b"content-type:", b"accept", b"user-agent:", b"transfer-encoding:"),
    ),
    Case(
        "fields of one connection stay on it",
        "RFC 9110 §7.6.1",
        get(more=b"Connection: x-own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\n"),
        misses=(b"x-own:", b"keep-alive:", b"proxy-connection:"),
        elsewhere={"misses": (b"keep-alive: 5",)},
        why="nginx does not look at what Connection names, nor at Proxy-Connection",
    ),
    Case(
        "a control character in a value",
        "nginx 1.21.1, CHANGES",
        get(more=b"X-A: a\x01\x1b\x7fb\r\n"),
        reaches=(b"x-a: a\x01\x1b\x7fb\r\n",),
    ),
    Case("NUL in a value", "nginx 1.21.1, CHANGES", get(more=b"X-A: a\0b\r\n"), **REFUSED),
    Case(
        "a control character in a name",
        "nginx 1.21.1, CHANGES",
        get(more=b"X\x01: a\r\n"),
        **REFUSED,
    ),
    Case("a control character in the target", "nginx 1.21.1, CHANGES", get(b"/a\x01b"), **REFUSED),
    Case("a space in the target", "nginx 1.21.1, CHANGES", get(b"/a b"), **REFUSED),
    Case(
        "two requests at once",
        "Kludex/uvicorn#344",
        b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/2"),
        reaches=(b"GET /1 ", b"GET /2 "),
        count=2,
        gets=(b"okHTTP/1.1 200",),
    ),
    Case(
        "a program that has said all it had to say",
        "MDA2AV/ioxide#164",
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        saying={"half_close": True},
        gets=(b"HTTP/1.1 200", b"\r\n\r\nok"),
        elsewhere={"gets": (), "count": None},
        why="nginx takes a program that has ended its direction for gone (499)",
    ),
    Case(
        "HTTP/1.0, without Host",
        "benoitc/gunicorn#1577",
        b"GET /old HTTP/1.0\r\n\r\n",
        reaches=(b"GET /old HTTP/1.1\r\n",),
        gets=(b" 200 ", b"connection: close\r\n", b"\r\n\r\nok"),
    ),
    Case(
        "empty lines before a request",
        "RFC 9112 §2.2",
        b"\r\n\r\n" + get(),
        reaches=(b"GET / HTTP/1.1\r\n",),
    ),
    Case(
        "no Host in HTTP/1.1", "RFC 9112 §3.2", b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n", **REFUSED
    ),
    Case("two Hosts", "RFC 9112 §3.2", get(more=b"Host: other\r\n"), **REFUSED),
]

# -- bodies of requests -------------------------------------------------------------------------

WHOLE = "nginx names the length where all of the body has come with the head"

BODIES = [
    Case(
        "a body in chunks stays one of unknown length",
        "RFC 9112 §7.1",
        post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
        reaches=(b"transfer-encoding: chunked\r\n", b"\r\n0\r\n\r\n"),
        misses=(b"content-length:",),
        elsewhere={"reaches": (b"content-length: 7\r\n",), "misses": (b"transfer-encoding:",)},
        why=WHOLE,
    ),
    Case(
        "a GET with a body",
        "RFC 9110 §9.3.1",
        post(b"Content-Length: 2\r\n", b"ok", b"GET"),
        reaches=(b"GET / HTTP/1.1\r\n", b"content-length: 2\r\n", b"\r\n\r\nok"),
    ),
    Case(
        "a PUT of nothing",
        "RFC 9110 §8.6",
        post(b"Content-Length: 0\r\n", b"", b"PUT"),
        reaches=(b"content-length: 0\r\n",),
    ),
    Case(
        "trailers of a request",
        "traefik/traefik#13383",
        post(b"Transfer-Encoding: chunked\r\n", b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
        reaches=(b"\r\n0\r\nx-sum: 1\r\n\r\n",),
        elsewhere={"reaches": (b"content-length: 2\r\n",), "misses": (b"x-sum",)},
        why="nginx drops trailers of requests; as trailers they cannot pass for fields of the head",
    ),
    Case(
        "trailers that would pass for fields of the head",
        "traefik/traefik#13822",
        post(
            b"Transfer-Encoding: chunked\r\n",
            b"2\r\nok\r\n0\r\nContent-Length: 9\r\nHost: x\r\n\r\n",
        ),
        misses=(b"content-length:", b"host: x"),
        elsewhere={"misses": (b"content-length: 9", b"host: x")},
        why=WHOLE,
    ),
    Case(
        "Expect, honoured by the upstream",
        "traefik/traefik#2899",
        post(b"Content-Length: 2\r\nExpect: 100-continue\r\n", b"", b"PUT"),
        Answering(interim=b"HTTP/1.1 100 Continue\r\n\r\n"),
        saying={"then": b"ok", "after": b"HTTP/1.1 100 Continue\r\n\r\n"},
        reaches=(b"expect: 100-continue\r\n", b"\r\n\r\nok"),
        gets=(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200",),
        elsewhere={
            "reaches": (b"\r\n\r\nok",),
            "misses": (b"expect:",),
            "gets": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200"),
        },
        why="nginx answers Expect itself, and does not ask for what it gets all the same",
    ),
    Case(
        "Expect, to an upstream that knows no such thing",
        "caddyserver/caddy#6038",
        post(b"Content-Length: 2\r\nExpect: 100-continue\r\n", b"", b"PUT"),
        saying={"then": b"ok", "after": b"HTTP/1.1 100 Continue\r\n\r\n"},
        reaches=(b"\r\n\r\nok",),
        gets=(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200",),
    ),
    Case(
        "Expect, and a refusal instead",
        "tinyproxy/tinyproxy#79",
        post(b"Content-Length: 5000000\r\nExpect: 100-continue\r\n", b"", b"PUT"),
        Answering(answer(b"Content-Length: 0", status=b"401 Unauthorized", body=b""), early=True),
        gets=(b"HTTP/1.1 401",),
        lacks=(b"100 Continue",),
        elsewhere={"gets": (b"HTTP/1.1 100 Continue", b"HTTP/1.1 401"), "lacks": ()},
        why="nginx answers Expect itself",
    ),
    Case(
        "a large upload that is refused at once",
        "villadora/express-http-proxy#546",
        post(b"Content-Length: %d\r\n" % len(LARGE), LARGE, b"PUT"),
        Answering(answer(LENGTH, status=b"413 Content Too Large", body=b"no"), early=True),
        gets=(b"HTTP/1.1 413", b"\r\n\r\nno"),
    ),
    Case(
        "a large upload in chunks that is refused at once",
        "abhinavsingh/proxy.py#512",
        post(
            b"Transfer-Encoding: chunked\r\n",
            b"%x\r\n" % len(LARGE) + LARGE + b"\r\n0\r\n\r\n",
            b"PUT",
        ),
        Answering(answer(LENGTH, status=b"401 Unauthorized", body=b"no"), early=True),
        gets=(b"HTTP/1.1 401", b"\r\n\r\nno"),
    ),
    Case(
        "a POST on a connection that was just closed",
        "RFC 9112 §9.3.1",
        b"POST /1 HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 2\r\n\r\nok"
        + post(b"Content-Length: 2\r\n", b"ok"),
        Answering(drop_reused=True),
        reaches=(b"POST /1 ", b"POST / "),
        count=2,
        gets=(b"okHTTP/1.1 200",),
        elsewhere={"count": None},
        why="nginx opens a connection for each request unless it is told to keep some",
    ),
]

# -- answers ------------------------------------------------------------------------------------

NGINX_ADDS = "nginx names itself in Server, and adds Date where there is none"

# That an answer is not whole may overtake its beginning: one that ends too early, or 502.
HALF = (b"HTTP/1.1 ",)

ANSWERS = [
    Case(
        "nothing is added to an answer",
        "aio-libs/aiohttp#4612",
        get(),
        Answering(answer(LENGTH)),
        gets=(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",),
        lacks=(b"server:", b"date:", b"content-type:"),
        elsewhere={"gets": (b"server: nginx",), "lacks": (b"content-type:",)},
        why=NGINX_ADDS,
    ),
    Case(
        "fields as they came, in order, and repeated",
        "kubernetes/ingress-nginx#11162",
        get(),
        Answering(answer(b"X-A: 1", b"Date: today", b"X-B: 2", b"X-A: 3", b"Server: mine", LENGTH)),
        gets=(b"x-a: 1\r\ndate: today\r\nx-b: 2\r\nx-a: 3\r\nserver: mine\r\n",),
        elsewhere={"gets": (b"x-a: 1\r\nx-b: 2\r\nx-a: 3\r\n",), "lacks": (b"server: mine",)},
        why=NGINX_ADDS,
    ),
    Case(
        "octets in Content-Disposition",
        "paperclipai/paperclip#7493",
        get(),
        Answering(answer('Content-Disposition: attachment; filename="한글.pdf"'.encode(), LENGTH)),
        gets=('content-disposition: attachment; filename="한글.pdf"\r\n'.encode(),),
    ),
    Case(
        "octets in Location that are no UTF-8",
        "psf/requests#3888",
        get(),
        Answering(answer(b"Location: /caf\xe9?\xc3\xa9", LENGTH, status=b"302 Found")),
        gets=(b"HTTP/1.1 302", b"location: /caf\xe9?\xc3\xa9\r\n"),
    ),
    Case(
        "an answer without a body has no type",
        "aio-libs/aiohttp#1191",
        get(),
        Answering(answer(status=b"204 No Content", body=b"")),
        gets=(b"HTTP/1.1 204 No Content\r\n",),
        lacks=(b"content-type:", b"content-length:", b"transfer-encoding:"),
    ),
    Case(
        "HEAD, answered with a body",
        "mar10/wsgidav#123",
        get(method=b"HEAD"),
        Answering(answer(LENGTH)),
        gets=(b"content-length: 2\r\n",),
        lacks=(b"\r\n\r\nok",),
    ),
    Case(
        "the body of an answer to HEAD does not answer the next request",
        "JuliaWeb/HTTP.jl#1112",
        b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/2"),
        Answering(OK),
        reaches=(b"HEAD / ", b"GET /2 "),
        count=2,
        gets=(b"\r\n\r\nHTTP/1.1 200 OK\r\n", b"\r\n\r\nok"),
    ),
    Case(
        "an answer that nobody asked for is nobody's",
        "aio-libs/aiohttp#13656",
        b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/2"),
        Answering(OK + answer(b"Content-Length: 4", body=b"evil")),
        count=2,
        gets=(b"okHTTP/1.1 200",),
        lacks=(b"evil",),
    ),
    Case(
        "Content-Length twice, the same",
        "MarSeventh/CloudFlare-ImgBed#549",
        get(),
        Answering(answer(LENGTH, LENGTH)),
        gets=(b"HTTP/1.1 200", b"content-length: 2\r\n", b"\r\n\r\nok"),
        elsewhere={"gets": ()},
        why="nginx refuses it from 1.23 on; RFC 9110 §8.6 lets a proxy make one of them",
    ),
    Case(
        "Content-Length twice, another",
        "mopemope/meinheld#111",
        get(),
        Answering(answer(LENGTH, b"Content-Length: 3")),
        gets=(b"HTTP/1.1 502",),
        elsewhere={"gets": ()},
        why="nginx before 1.23 takes the last",
    ),
    Case(
        "Transfer-Encoding beside Content-Length",
        "nginx/nginx#1228",
        get(),
        Answering(
            answer(
                b"Content-Length: 99", b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"
            )
        ),
        gets=(b"HTTP/1.1 200", b"2\r\nok\r\n0\r\n\r\n"),
        lacks=(b"content-length:",),
        elsewhere={"gets": (), "lacks": ()},
        why="nginx refuses it from 1.23 on; RFC 9112 §6.3 has Transfer-Encoding win",
    ),
    Case(
        "the version in lower case, and no reason",
        "openwrt/uhttpd",
        get(),
        Answering(b"http/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        gets=(b"HTTP/1.1 200", b"\r\n\r\nok"),
        elsewhere={"gets": ()},
        why="nginx takes it for HTTP/0.9, and its first line for the body's",
    ),
    Case(
        "LF alone at the end of lines",
        "RFC 9112 §2.2",
        get(),
        Answering(b"HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 2\n\nok"),
        gets=(b"HTTP/1.1 200", b"x-a: 1\r\n", b"\r\n\r\nok"),
    ),
    Case(
        "a status beyond 599",
        "traefik/traefik#13635",
        get(),
        Answering(answer(LENGTH, status=b"799 Odd")),
        gets=(b"HTTP/1.1 799",),
    ),
    Case(
        "no status at all",
        "traefik/traefik#13635",
        get(),
        Answering(answer(LENGTH, status=b"99999 Odd"), close=True),
        gets=(b"HTTP/1.1 502",),
        elsewhere={"gets": ()},
        why="nginx takes it for HTTP/0.9",
    ),
    Case(
        "a body that ends with its connection",
        "RFC 9112 §6.3",
        get(),
        Answering(answer(body=b"until the end"), close=True),
        gets=(b"HTTP/1.1 200", b"until the end"),
    ),
    Case(
        "chunks, to a program of HTTP/1.0",
        "ninenines/cowboy#140",
        b"GET / HTTP/1.0\r\n\r\n",
        Answering(answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n")),
        gets=(b"\r\n\r\nok",),
        lacks=(b"transfer-encoding:", b"2\r\nok"),
    ),
    Case(
        "trailers of an answer",
        "traefik/traefik#1805",
        get(),
        Answering(answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")),
        gets=(b"0\r\nx-sum: 1\r\n\r\n",),
        elsewhere={"gets": (b"0\r\n\r\n",), "lacks": (b"x-sum",)},
        why="nginx drops trailers of answers",
    ),
    Case(
        "103 before the answer",
        "caddyserver/caddy#6041",
        get(),
        Answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK),
        gets=(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200",),
        elsewhere={"gets": (b"HTTP/1.1 103 Early Hints\r\n",)},
        why="nginx before 1.29 takes the first answer for the last (nginx/nginx#326)",
    ),
    Case(
        "half a body, of a length",
        "cloudflare/cloudflared#587",
        get(),
        Answering(answer(b"Content-Length: 9"), close=True),
        gets=HALF,
    ),
    Case(
        "half a body, in chunks",
        "cloudflare/cloudflared#451",
        get(),
        Answering(answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n"), close=True),
        gets=HALF,
        lacks=(b"\r\n0\r\n",),
    ),
    Case(
        "no answer at all",
        "cloudflare/cloudflared#336",
        get(),
        Answering(b"", close=True),
        count=None,
        gets=(b"HTTP/1.1 502",),
    ),
    Case(
        "a reset instead of an answer",
        "cloudflare/cloudflared#336",
        get(),
        Answering(b"", reset=True),
        count=None,
        gets=(b"HTTP/1.1 502",),
    ),
    Case(
        "a field of an answer with a space before its colon",
        "apache/trafficserver#7176",
        get(),
        Answering(answer(LENGTH, b"X-Odd : 1")),
        gets=(b"HTTP/1.1 502",),
    ),
]

# -- smuggling ----------------------------------------------------------------------------------

INNER = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def smuggled(name: str, source: str, more: bytes, body: bytes, **others: Any) -> Case:
    """A request of which two readers could see different ends."""
    values: dict[str, Any] = {"misses": (b"/smuggled",), "count": 0, "gets": (b"HTTP/1.1 400",)}
    return Case(name, source, post(more, body), **{**values, **others})


CHUNKED = b"Transfer-Encoding: chunked\r\n"
PARSED = {"count": None, "gets": ()}

SMUGGLING = [
    smuggled(
        "Content-Length before Transfer-Encoding",
        "aio-libs/aiohttp#6182",
        b"Content-Length: 6\r\n" + CHUNKED,
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "Transfer-Encoding before Content-Length",
        "envoyproxy/envoy#11398",
        CHUNKED + b"Content-Length: 6\r\n",
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "Content-Length twice",
        "mopemope/meinheld#111",
        b"Content-Length: %d\r\nContent-Length: 0\r\n" % len(INNER),
        INNER,
    ),
    smuggled(
        "Content-Length as a list",
        "RFC 9110 §8.6",
        b"Content-Length: 0, 0\r\n",
        INNER,
    ),
    smuggled("Content-Length with a sign", "erlang/otp#10833", b"Content-Length: +0\r\n", INNER),
    smuggled(
        "Content-Length in hexadecimal", "erlang/otp#10833", b"Content-Length: 0x0\r\n", INNER
    ),
    smuggled(
        "a space before the colon",
        "netty/netty#9571",
        b"Content-Length: 6\r\nTransfer-Encoding : chunked\r\n",
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "a tab before the colon",
        "valyala/fasthttp#2187",
        b"Content-Length: 6\r\nTransfer-Encoding\t: chunked\r\n",
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "a folded line",
        "nodejs/llhttp#350",
        b"X-A: 1\r\n Content-Length: 6\r\n" + CHUNKED,
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "a folded Transfer-Encoding",
        "nodejs/http-parser#456",
        b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 6\r\n",
        b"0\r\n\r\n" + INNER,
    ),
    smuggled(
        "a coding that is not chunked",
        "ohler55/agoo#88",
        b"Transfer-Encoding: xchunked\r\n",
        INNER,
        gets=(b"HTTP/1.1 501",),
    ),
    smuggled(
        "chunked, and not last",
        "RFC 9112 §6.1",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"0\r\n\r\n" + INNER,
        gets=(),
    ),
    smuggled(
        "chunked twice",
        "kubernetes/ingress-nginx#11162",
        CHUNKED + CHUNKED,
        b"0\r\n\r\n" + INNER,
        gets=(),
    ),
    smuggled(
        "a vertical tab before the coding",
        "ohler55/agoo#88",
        b"Transfer-Encoding: \x0bchunked\r\n",
        INNER,
        gets=(),
    ),
    smuggled(
        "a chunk's size with 0x",
        "graygnuorg/pound#19",
        CHUNKED,
        b"0x1\r\nZ\r\n0\r\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "a chunk's size with a sign",
        "graygnuorg/pound#19",
        CHUNKED,
        b"-0\r\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "a chunk's size with an underscore",
        "openwrt/uhttpd#3",
        CHUNKED,
        b"0_0\r\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "a chunk's size that is too large",
        "RFC 9112 §7.1",
        CHUNKED,
        b"10000000000000000\r\nx\r\n0\r\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "LF alone in a chunk's extension",
        "golang/go#71988",
        CHUNKED,
        b"2;\nxx\r\n2f\r\n0\r\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "LF alone behind a chunk's size",
        "nginx/nginx#1016",
        CHUNKED,
        b"0\n\r\n" + INNER,
        **PARSED,
    ),
    smuggled(
        "CR alone in a chunk's extension",
        "yhirose/cpp-httplib#2585",
        CHUNKED,
        b"2;a\rb\r\nok\r\n0\r\n\r\n",
        **PARSED,
    ),
    smuggled(
        "no line end behind a chunk",
        "RFC 9112 §7.1",
        CHUNKED,
        b"2\r\nokXX0\r\n\r\n" + INNER,
        **PARSED,
    ),
    Case(
        "a chunk's extension stays here",
        "RFC 9112 §7.1.1",
        post(CHUNKED, b"2;a=b\r\nok\r\n0;c\r\n\r\n"),
        reaches=(b"2\r\nok\r\n0\r\n\r\n",),
        misses=(b"a=b", b";c"),
        elsewhere={"reaches": (b"content-length: 2\r\n",)},
        why=WHOLE,
    ),
    Case(
        "LF alone behind the request line",
        "nodejs/llhttp#877",
        b"GET /x\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        count=0,
        gets=(),
        elsewhere={"count": 1},
        why="nginx answers HTTP/0.9, which has one line and no fields",
    ),
    Case(
        "Transfer-Encoding in HTTP/1.0",
        "RFC 9112 §6.1",
        b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
        misses=(b"/smuggled",),
        count=0,
        gets=(b" 400 ",),
    ),
]

CASES = REQUESTS + BODIES + ANSWERS + SMUGGLING
