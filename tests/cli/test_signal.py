from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certificates import self_signed
from peerfetch_fast.cli import main
from peerfetch_fast.signaling import SignalingClient
from peerfetch_fast.webrtc.ice.servers import IceServer
from processes import environment, fetch, peerfetch, posix_only

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


@pytest.mark.parametrize("command", ["signal", "proxy"])
def test_the_ready_file_comes_after_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    ready, seen = tmp_path / "ready", []

    def echo(text: str) -> None:
        seen.append(ready.exists())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(click, "echo", echo)
    serve = ["--serve", str(tmp_path)] if command == "proxy" else []
    result = CliRunner().invoke(
        main,
        [command, *serve, "--listen", "127.0.0.1:0", "--ready-file", str(ready)],
        env={"PEERFETCH_STATE_DIR": str(tmp_path / "state")},
    )
    assert result.exit_code == 0, result.output
    assert seen
    assert not any(seen)
    assert not ready.exists()


def test_peernet_beside_it(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", "--peernet") as server:
        url = server.ready["peernet"]
        assert url == server.ready["signaling"].replace("ws:", "peernet+http:")
        assert url in server.output
        with urllib.request.urlopen(f"{url.removeprefix('peernet+')}/v1/openapi.json") as response:
            assert json.load(response)["info"]["title"] == "PeerNet"


def test_what_is_no_http_is_not_worth_a_line(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server:
        port = int(server.ready["signaling"].rpartition(":")[2])
        for noise in (b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), 10) as anybody:
                anybody.sendall(noise)
                assert anybody.recv(100).startswith(b"HTTP/1.0 400 ")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Error" not in server.output
        assert "Traceback" not in server.output


def test_all_addresses_are_told_as_one_that_others_can_use(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "0.0.0.0:0") as server:
        assert "0.0.0.0" not in server.ready["signaling"]
        url = server.ready["signaling"].replace("ws", "http", 1)
        with urllib.request.urlopen(f"{url}/peerjs/id") as response:
            assert response.status == 200


def test_a_path_and_key_of_ones_own_with_tls(tmp_path: Path, site: str) -> None:
    cert, key = self_signed(tmp_path)
    with peerfetch(
        tmp_path,
        *("signal", "--listen", "127.0.0.1:0", "--path", "my/app", "--key", "mine"),
        *("--allow-discovery", "--tls-certificate", cert, "--tls-key", key),
    ) as server:
        url = server.ready["signaling"]
        assert re.fullmatch(r"wss://127\.0\.0\.1:\d+/my/app\?key=mine", url)
        context = ssl.create_default_context(cafile=str(cert))
        peers = url.replace("wss", "https", 1).replace("?key=mine", "/mine/peers")
        with urllib.request.urlopen(peers, context=context) as response:
            assert json.load(response) == []
        with peerfetch(
            tmp_path,
            *("proxy", "--target", site, "--signaling", url, "--peer-id", "home"),
            environ={"SSL_CERT_FILE": str(cert)},
        ):
            with urllib.request.urlopen(peers, context=context) as response:
                assert json.load(response) == ["home"]
            result = fetch(
                tmp_path,
                *("peer://home/status/200", "--signaling", url),
                environ={"SSL_CERT_FILE": str(cert)},
            )
            assert result.stdout == b"the body"
            # Whoever does not know the certificate does not come in.
            result = fetch(tmp_path, "peer://home/status/200", "--signaling", url)
            assert result.returncode == 6
            assert b"certificate" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--key", "a/b"], "key"),
        (["--path", "a b"], "path"),
        (["--trusted-proxy", "everybody"], "10.0.0.0/8"),
        (["--allow-origin", "*"], "is no origin"),
        (["--tls-key", __file__], "--tls-certificate"),
        (["--turn-server", "turn:192.0.2.1"], "go together"),
        (["--turn-server", "stun:192.0.2.1", "--turn-secret-file", __file__], "TURN servers alone"),
        (["--tls-certificate", __file__], "cannot be used as a certificate"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["signal", *arguments])
    assert result.exit_code in (1, 2)
    assert says in result.stderr


def test_whoever_connects_gets_a_login_that_expires(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("north\n")
    turn = ("--turn-server", "turn:192.0.2.1", "--turn-secret-file", str(secret))

    async def logins(url: str) -> set[IceServer]:
        async with (
            SignalingClient(url, "one", on_message=print) as one,
            SignalingClient(url, "two", on_message=print) as two,
        ):
            return {*one.ice_servers, *two.ice_servers}

    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", *turn) as server:
        found = asyncio.run(logins(server.ready["signaling"]))
    assert {login.urls for login in found} == {"turn:192.0.2.1"}
    # Which counts for their address: ids cost nothing.
    (name,) = {str(login.username).partition(":")[2] for login in found}
    assert name not in ("one", "two")


def test_origins_that_are_allowed(tmp_path: Path) -> None:
    def status(url: str, origin: str) -> int:
        request = urllib.request.Request(f"{url}/peerjs/id", headers={"Origin": origin})
        try:
            with urllib.request.urlopen(request) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    allowed = ("--allow-origin", "https://one.example", "--allow-origin", "HTTPS://Two.example/")
    for command in (("signal",), ("proxy", "--serve", tmp_path)):
        with peerfetch(tmp_path, *command, "--listen", "127.0.0.1:0", *allowed) as server:
            url = server.ready["signaling"].replace("ws", "http", 1)
            for origin in ("https://one.example", "https://two.example", url):
                assert status(url, origin) == 200
            assert status(url, "https://three.example") == 403


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "peerfetch_fast", "signal"),
                *("--listen", f"127.0.0.1:{taken.getsockname()[1]}"),
            ],
            capture_output=True,
            timeout=120,
            check=False,
            env=environment(tmp_path),
        )
    assert result.returncode == 1
    [line] = result.stderr.decode().splitlines()
    assert "cannot listen on" in line


def test_pages_and_signaling_by_https(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    with peerfetch(
        tmp_path,
        "signal",
        *("--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key),
    ) as server:
        url = server.ready["signaling"]
        assert re.fullmatch(r"wss://127\.0\.0\.1:\d+", url)
        page = f"https{url.removeprefix('wss')}/"
        assert page in server.output
        trusting = ssl.create_default_context(cafile=certificate)
        request = urllib.request.Request(page, headers={"Accept": "text/html"})
        with urllib.request.urlopen(request, context=trusting) as response:
            assert b"<title>peerfetch</title>" in response.read()


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["*.home.example", "home.example"], r"home\.example"),
        (["home.example", "127.0.0.1"], r"127\.0\.0\.1"),
        (["*.home.example"], r"127\.0\.0\.1"),
    ],
)
def test_the_url_has_a_name_that_the_certificate_is_for(
    tmp_path: Path, names: list[str], host: str
) -> None:
    certificate, key = self_signed(tmp_path, *names)
    with peerfetch(
        tmp_path,
        "signal",
        *("--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key),
    ) as server:
        assert re.fullmatch(rf"wss://{host}:\d+", server.ready["signaling"])
        assert f"https{server.ready['signaling'].removeprefix('wss')}/" in server.output
