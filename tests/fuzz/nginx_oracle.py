"""``python -m tests.fuzz.nginx_oracle --steps N [--seed S]``: nginx as the oracle of HTTP/1.1.

Changed requests go to `forward` and the proxy, and to nginx as a reverse proxy, before the same
upstream on a bare socket. Compared is what of them reached it, octet by octet as far as both pass
things on. What reaches it through us is read by h11 too: no request of ours may be read otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz import h1
from tests.fuzz.h1_oracles import read_by_h11
from tests.fuzz.nginx_differences import CONNECTION, NGINX_STRICTER, OURS_STRICTER, Passed, differs
from tests.http.raw import RawUpstream, said_to
from tests.interop.raw_cases import CASES
from tests.interop.reverse_proxies import forwarded, nginx

from peerfetch_fast.http.h1 import Leniency, ServerConnection

__all__ = ["Oracle", "oracle"]

PIECES = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b"0", b"1", b"5", b"a", b"F", b'"'),
    *(b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\\", b"*", b"/", b"//", b"?", b"#", b"%", b".."),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: ", b"+5", b"0x5"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"chunked", b"gzip, "),
    *(b"Host: 127.0.0.1\r\n", b"Connection: close\r\n", b"Connection: x-a\r\n", b"X-A: b\r\n"),
    *(
        b" x\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"Expect: 100-continue\r\n",
        b"X_A: b\r\n",
    ),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/1.4",
        b"PATCH",
        b"M-SEARCH",
        b"OPTIONS",
        b"get",
    ),
    *(
        b"http://127.0.0.1/",
        b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"Trailer: x\r\n",
    ),
)

LARGEST = 4096
"""Octets of the largest request that is changed."""

PATIENT = "proxy_ignore_client_abort on; underscores_in_headers on;"
"""Has nginx not take who has said all for gone, and not drop fields for an underscore."""


HTTP_09 = "a request without a target"
VERSION = re.compile(rb"\A[\r\n]*[^\r\n]+ HTTP/1\.\d\r")
REFUSED_ALONE = b"HTTP/1.1 403 "
"""Of one request; the next on the connection is answered."""


def seeds() -> list[bytes]:
    """The requests of the fuzz targets, and those of the table in raw_cases.py."""
    asked = [seed[1:].replace(b"Host: x", b"Host: 127.0.0.1") for seed in h1.h1_requests_seeds()]
    asked += [case.asked for case in CASES]
    return [octets for octets in dict.fromkeys(asked) if octets and len(octets) <= LARGEST]


def change(octets: bytes, rng: random.Random) -> bytes:
    """Some of it taken out, put in, or replaced; lines as well as octets."""
    data = bytearray(octets)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at : at + rng.randrange(1, 6)]
            case 2:
                data[at : at + rng.randrange(1, 8)] = rng.choice(PIECES)
            case 3:
                data[at : at + 1] = rng.randbytes(1)
            case _:
                lines = [found.end() for found in re.finditer(rb"\r\n", data)] or [0]
                at = rng.choice(lines)
                data[at:at] = rng.choice(PIECES)
    return bytes(data)


class Oracle:
    """Both ways to one upstream.

    :ivar steps: requests that were compared.
    :ivar passed: of which both passed on something.
    :ivar known: how often each known difference was met.
    """

    def __init__(self, upstream: RawUpstream, ours: int, theirs: int, log: Path) -> None:
        self._upstream = upstream
        self._ours = ours
        self._theirs = theirs
        self._log = log
        self._logged = 0
        self.steps = self.passed = 0
        self.known: Counter[str] = Counter()

    def step(self, asked: bytes) -> None:
        """Say something to both. Raises AssertionError where they differ in what is not known."""
        self.steps += 1
        ours, answer = self._say(asked, self._ours)
        reached = [_read(octets) for octets in ours]
        for octets in ours:
            _check_plain(octets)
        theirs, _ = self._say(asked, self._theirs)
        its_reached = [_read(octets) for octets in theirs]
        complaint = self._new_in_log()
        self.passed += bool(reached and its_reached)
        what = (asked, reached, its_reached, answer[-300:], complaint)
        if REFUSED_ALONE not in answer:
            for one, other in zip(reached, its_reached, strict=False):
                for name in differs(one, other, asked):
                    assert name, what
                    self.known[name] += 1
        if len(reached) < len(its_reached):
            words = answer.decode("latin-1")
            # Who has not ended a head is not answered; nginx takes its first line for all of it.
            old = not answer and not VERSION.search(asked)
            self._explain(OURS_STRICTER, HTTP_09 if old else words, what)
        elif len(reached) > len(its_reached):
            if any(b"close" in value.lower() for value in CONNECTION.findall(asked)):
                complaint += "Connection has close in it"  # nothing is logged of that
            self._explain(NGINX_STRICTER, complaint, what)

    def _explain(self, known: dict[str, str], words: str, what: Any) -> None:
        name = next((name for name in known if name in words), None)
        assert name is not None, what
        self.known[name] += 1

    def _say(self, asked: bytes, port: int) -> tuple[list[bytes], bytes]:
        self._upstream.requests.clear()
        answer = said_to(port, asked, half_close=True)
        return list(self._upstream.requests), answer

    def _new_in_log(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._logged)
            new = log.read()
        self._logged += len(new)
        return new.decode("latin-1")


def _read(octets: bytes) -> Passed:
    """A request as it reached the upstream."""
    reader = ServerConnection(leniency=Leniency.CONTROL_CHARACTERS | Leniency.EMPTY_LINES)
    events, why = h1.read(reader, [octets])
    assert why is None, (octets, why)
    method, target, fields = events[0]
    body = b"".join(event for event in events[1:] if isinstance(event, bytes))
    return Passed(method, target, fields, body)


def _check_plain(octets: bytes) -> None:
    """Hold a request of ours against what h11 makes of it. It refuses control characters."""
    assert octets.split(b" ", 2)[1].isascii(), octets
    events, why = read_by_h11("server", [octets, b""], "GET")
    assert why is None or re.search(rb"[\x0b\x0c]", octets), (octets, why)
    assert why is not None or events[-1][0] == "end", octets


@contextlib.contextmanager
def oracle(directory: Path) -> Iterator[Oracle]:
    """Both ways, running. Raises NoNginx."""
    upstream = RawUpstream()
    try:
        with (
            nginx(upstream, directory, PATIENT) as theirs,
            forwarded(upstream) as ours,
        ):
            yield Oracle(upstream, ours, theirs, directory / "log")
    finally:
        upstream.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.nginx_oracle", description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    pool = seeds()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="peerfetch-nginx-") as place,
        oracle(Path(place)) as both,
    ):
        for _ in range(arguments.steps):
            both.step(change(rng.choice(pool), rng))
        seconds = time.monotonic() - began
    print(f"{both.steps} requests, {both.passed} passed on by both, in {seconds:.0f} s")
    for name, count in both.known.most_common():
        print(f"{count:7} {name}")


if __name__ == "__main__":
    main()
