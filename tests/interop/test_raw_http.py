"""HTTP as it is on the wire: a program and an upstream on bare sockets, and between them `forward`
and the proxy, or nginx.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.http.raw import Answering, RawUpstream, plain, said_to
from tests.interop.raw_cases import CASES, Case

from peerfetch_fast import connect, serve
from peerfetch_fast.forwarding import Forwarder
from processes import accepts, free_port, posix_only, running
from test_peer import signaling_server

pytestmark = posix_only

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    found = RawUpstream()
    yield found
    found.close()


@pytest.fixture(scope="module")
def forwarded(upstream: RawUpstream) -> Iterator[int]:
    """The port of `forward` before a proxy before the upstream, in a thread of their own."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()
    ports: list[int] = []

    async def main() -> None:
        async with (
            signaling_server() as signaling,
            await serve(upstream.url, signaling=signaling) as server,
            connect(server.peer_id, signaling=signaling) as peer,
        ):
            forwarder = Forwarder(peer)
            ports.append(await forwarder.start(0))
            ready.set()
            await stop.wait()
            await forwarder.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert ready.wait(60)
    yield ports[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    loop.close()


@pytest.fixture(scope="module")
def nginx(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx before the upstream."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    directory: Path = tmp_path_factory.mktemp("nginx")
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port, upstream=upstream.port))
    with running(
        *(program, "-p", directory, "-c", config, "-e", "stderr"),
        log=directory / "log",
        ready=lambda: accepts(port),
    ):
        yield port


def check(case: Case, upstream: RawUpstream, port: int) -> None:
    upstream.requests.clear()
    upstream.doing = case.doing
    try:
        got = plain(said_to(port, case.asked, **case.saying))
    finally:
        upstream.doing = Answering()
    reached = plain(b"".join(upstream.requests))
    for part in case.reaches:
        assert part in reached
    for part in case.misses:
        assert part not in reached
    for part in case.gets:
        assert part in got
    for part in case.lacks:
        assert part not in got
    if case.count is not None:
        assert len(upstream.requests) == case.count


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_by_forward(case: Case, upstream: RawUpstream, forwarded: int) -> None:
    check(case, upstream, forwarded)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_by_nginx(case: Case, upstream: RawUpstream, nginx: int) -> None:
    assert bool(case.elsewhere) == bool(case.why)
    if "half_close" in case.saying:
        pytest.skip(
            "nginx takes it for gone, and may ask the upstream all the same in the next case"
        )
    check(case.of_nginx, upstream, nginx)


def test_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source for case in CASES)
