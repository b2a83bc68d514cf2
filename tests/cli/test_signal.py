from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from processes import environment, peerfetch, posix_only

pytestmark = posix_only


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server:
        assert server.ready.keys() == {"signaling", "pid"}
        assert server.ready["pid"] == server.pid
        url = server.ready["signaling"]
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", url)
        assert url in server.output
        with urllib.request.urlopen(f"{url.replace('ws', 'http', 1)}/peerjs/id") as response:
            assert len(response.read()) == 32
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.output


def test_all_addresses_are_told_as_one_that_others_can_use(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "0.0.0.0:0") as server:
        assert "0.0.0.0" not in server.ready["signaling"]
        url = server.ready["signaling"].replace("ws", "http", 1)
        with urllib.request.urlopen(f"{url}/peerjs/id") as response:
            assert response.status == 200


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "peerfetch_fast", "signal"),
                *("--listen", f"127.0.0.1:{taken.getsockname()[1]}"),
            ],
            capture_output=True,
            timeout=30,
            check=False,
            env=environment(tmp_path),
        )
    assert result.returncode == 1
    [line] = result.stderr.decode().splitlines()
    assert "cannot listen on" in line
