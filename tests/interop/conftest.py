"""Servers that are not ours, and the proxy in front of each, in processes of their own."""

from __future__ import annotations

import contextlib
import gzip
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.webrtc.conftest import each_loop, pc  # noqa: F401 - fixtures

from processes import (
    TRANSPORTS,
    Process,
    accepts,
    free_port,
    require_transport,
    running,
    start_proxy,
    uvicorn,
)

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ text/plain txt; }}
    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
    gzip on;
    gzip_types text/plain;
    gzip_min_length 100;
    gzip_static on;
    client_max_body_size 1k;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/root;
        absolute_redirect off;
        location /slow/ {{ alias {directory}/root/; limit_rate 1m; }}
        location /upload/ {{
            dav_methods PUT;
            client_max_body_size 0;
        }}
    }}
}}
"""


@pytest.fixture(scope="session", params=TRANSPORTS)
def transport(request: Any) -> str:
    require_transport(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    noise = random.Random(7)
    return {
        "large.bin": noise.randbytes(4_000_003),
        "small.bin": noise.randbytes(100),
        "empty.bin": b"",
        "long.txt": b"the same line again and again\n" * 2000,
        "packed.txt": b"compressed beforehand\n" * 500,
    }


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Iterator[str]:
    """The URL of nginx with ``files``."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    directory = tmp_path_factory.mktemp("nginx")
    root = directory / "root"
    for name in ("directory", "upload"):
        (root / name).mkdir(parents=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    (root / "packed.txt.gz").write_bytes(gzip.compress(files["packed.txt"], mtime=0))
    for path in (directory, root, root / "directory", root / "upload"):
        path.chmod(0o755)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port))
    with running(
        *(program, "-p", directory, "-c", config, "-e", "stderr"),
        log=directory / "log",
        ready=lambda: accepts(port),
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the FastAPI application."""
    with uvicorn(tmp_path_factory.mktemp("uvicorn")) as (url, _):
        yield url


@pytest.fixture(scope="session")
def proxies(
    tmp_path_factory: pytest.TempPathFactory, transport: str
) -> Iterator[Callable[[str], Process]]:
    """The proxy in front of a URL, with a signaling server of its own; one for each URL."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Process] = {}

        def proxy(url: str) -> Process:
            if url not in found:
                found[url] = stack.enter_context(
                    start_proxy(tmp_path_factory.mktemp("proxy"), url, transport)
                )
            return found[url]

        yield proxy
