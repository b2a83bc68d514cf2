"""Two ways to an upstream that say the same: `forward` and the proxy, and nginx."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.http.raw import RawUpstream

from peerfetch_fast import connect, serve
from peerfetch_fast.local_http_port import LocalHttpPort
from processes import accepts, free_port, running
from test_peer import signaling_server

__all__ = ["NoNginx", "forwarded", "nginx"]

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr info;
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
        {more}
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""


class NoNginx(Exception):
    """It is not installed."""


@contextlib.contextmanager
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
            forwarder = LocalHttpPort(peer)
            ports.append(await forwarder.start(0))
            ready.set()
            await stop.wait()
            await forwarder.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


@contextlib.contextmanager
def nginx(upstream: RawUpstream, directory: Path, more: str = "") -> Iterator[int]:
    """The port of nginx before the upstream. Raises NoNginx.

    :param more: directives of the server.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NoNginx("nginx is not installed (Debian: apt install nginx-light)")
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        NGINX.format(directory=directory, port=port, upstream=upstream.port, more=more)
    )
    with running(
        *(program, "-p", directory, "-c", config, "-e", "stderr"),
        log=directory / "log",
        ready=lambda: accepts(port),
    ):
        yield port
