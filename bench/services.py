"""What stands around the two ends in an end-to-end benchmark: nginx, signaling and the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from bench.processes import ROOT, Failed
from bench.report import Row

__all__ = ["nginx", "program"]

START_TIMEOUT = 30.0

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {content}
    }}
    upstream behind {{
        server {behind};
        keepalive 256;
        keepalive_requests 1000000;
    }}
}}
"""
PASS = (
    "location / { proxy_pass http://behind; proxy_http_version 1.1; "
    "proxy_set_header Connection ''; proxy_buffering off; }"
)


@contextlib.asynccontextmanager
async def program(module: str, *arguments: str) -> AsyncIterator[Row]:
    """Run a program of ours until the block ends; gives what its ready file says."""
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        ready = Path(directory) / "ready"
        command = (sys.executable, "-m", module, *arguments, "--ready-file", str(ready))
        async with _running(module, command, ready.exists):
            yield json.loads(ready.read_text())


@contextlib.asynccontextmanager
async def nginx(root: Path | None = None, *, behind: str = "") -> AsyncIterator[str]:
    """Serve the files in ``root``, or what is at the URL ``behind``, until the block ends; gives
    the URL. Raises Failed.
    """
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        raise Failed("nginx is not installed (apt install nginx-light)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        config = Path(directory) / "nginx.conf"
        config.write_text(
            NGINX.format(
                directory=directory,
                port=port,
                content=PASS if behind else f"root {root};",
                behind=behind.removeprefix("http://") or "127.0.0.1:1",
            )
        )
        command = (binary, "-p", directory, "-c", str(config), "-e", "stderr")
        async with _running("nginx", command, answers):
            yield f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _running(
    name: str, command: Sequence[str], ready: Callable[[], bool]
) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if process.returncode is not None:
                raise Failed(f"{name} ended with code {process.returncode}")
            if time.monotonic() > deadline:
                raise Failed(f"{name} did not start in time")
            await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), START_TIMEOUT)
            except TimeoutError:
                process.kill()
                await process.wait()
