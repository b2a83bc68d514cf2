"""``peerfetch proxy``: what it writes, keeps, and how it ends."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from certificates import self_signed
from peerfetch_fast.cli import main
from processes import (
    TRANSPORTS,
    Process,
    environment,
    fetch,
    free_port,
    peerfetch,
    posix_only,
    require_transport,
    running,
    start_proxy,
)

pytestmark = posix_only


def proxy_fails(directory: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and last line of a proxy that does not start; run in this process."""
    result = CliRunner().invoke(
        main, ["proxy", *map(str, arguments)], env={"PEERFETCH_STATE_DIR": str(directory / "state")}
    )
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len([line for line in lines if not re.match("Usage:|Try |$", line)]) == 1, lines
    return result.exit_code, lines[-1]


def test_the_ready_file_and_what_is_printed(tmp_path: Path, site: str) -> None:
    with start_proxy(tmp_path, site, "auto") as proxy:
        assert proxy.ready.keys() == {"peer_id", "fingerprint", "signaling", "pid"}
        assert proxy.ready["pid"] == proxy.pid
        assert re.fullmatch("[0-9a-f]{32}", proxy.ready["peer_id"])
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", proxy.ready["signaling"])
        # The line that it prints to be tried, tried.
        command = re.search(r"peerfetch fetch '(\S+/)(#\S+)' --signaling (\S+)", proxy.output)
        assert command is not None
        assert command[2] == f"#{proxy.ready['fingerprint']}"
        url = f"{command[1]}status/200"
        result = fetch(tmp_path, f"{url}{command[2]}", "--signaling", command[3])
        assert result.stdout == b"the body"
        # The pin in it counts.
        result = fetch(tmp_path, f"{url}#sha256:{'0' * 64}", "--signaling", command[3])
        assert result.returncode == 60
        assert result.stdout == b""
        assert b"instead of the pinned" in result.stderr


def test_a_certificate_for_a_name_that_this_machine_need_not_know(
    tmp_path: Path, site: str
) -> None:
    certificate, key = self_signed(tmp_path, "*.home.example", "home.example")
    with start_proxy(
        tmp_path,
        site,
        "auto",
        *("--tls-certificate", certificate, "--tls-key", key, "--discoverable"),
    ) as proxy:
        url = proxy.ready["signaling"]
        port = re.fullmatch(r"wss://home\.example:(\d+)", url)[1]
        link = f"https://home.example:{port}/#{proxy.ready['peer_id']}"
        assert re.search(f"^link +{link}#sha256:", proxy.output, re.MULTILINE)
        context = ssl.create_default_context(cafile=certificate)
        with (
            socket.create_connection(("127.0.0.1", int(port))) as plain,
            context.wrap_socket(plain, server_hostname="home.example") as connection,
        ):
            connection.sendall(b"GET /peerjs/id HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200")
        assert "Traceback" not in proxy.output


def test_id_and_certificate_are_kept_for_the_owner_alone(tmp_path: Path, site: str) -> None:
    state = tmp_path / "deep" / "state"
    found = []
    for transport in TRANSPORTS:
        require_transport(transport)
        with start_proxy(tmp_path, site, transport, "--state-dir", state) as proxy:
            found.append((proxy.ready["peer_id"], proxy.ready["fingerprint"]))
    assert found[0] == found[1]
    kept = {"peer-id", "certificate.pem", "signaling-tokens", "status"}
    kept |= {"peer-id.lock", "certificate.pem.lock"}  # of whoever writes one
    assert {file.name for file in state.iterdir()} == kept
    assert (state / "peer-id").read_text().strip() == found[0][0]
    for file in state.rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_the_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"0123456789")
    with peerfetch(
        tmp_path, "proxy", "--serve", tmp_path, "--listen", "127.0.0.1:0", "--peer-id", "nas"
    ) as proxy:
        result = fetch(
            tmp_path,
            *("peer://nas/there", "--signaling", proxy.ready["signaling"]),
            *("-H", "Range: bytes=-3", "-i"),
        )
        assert result.stdout.startswith(b"HTTP/2 206\r\n")
        assert result.stdout.endswith(b"\r\n\r\n789")


def test_several_targets_by_their_paths(tmp_path: Path, site: str) -> None:
    (tmp_path / "there").write_bytes(b"a file")
    with peerfetch(
        tmp_path,
        *("proxy", "--listen", "127.0.0.1:0", "--peer-id", "home"),
        *("--target", f"/site={site}", "--serve", f"/files={tmp_path}", "--target", f"/s/2={site}"),
    ) as proxy:
        assert f"target       /site = {site}\n" in proxy.output
        for path, says in (
            ("/files/there", b"a file"),
            ("/site/status/200", b"the body"),
            ("/s/2/status/200", b"the body"),
            ("/there", b"Nothing is served at this path.\n"),
        ):
            result = fetch(tmp_path, f"peer://home{path}", "--signaling", proxy.ready["signaling"])
            assert result.stdout == says
        result = fetch(tmp_path, "peer://home/site/echo", "--signaling", proxy.ready["signaling"])
        told = json.loads(result.stdout)["headers"]
        [forwarded] = [line for line in told if line.startswith("forwarded: ")]
        assert re.fullmatch(r"forwarded: for=_[0-9a-f-]{32,36};host=home;proto=peer", forwarded)
        assert "x-forwarded-prefix: /site" in told


def test_an_id_that_is_given_is_not_kept(tmp_path: Path, site: str) -> None:
    with start_proxy(tmp_path, site, "auto", "--peer-id", "my-device_1") as proxy:
        assert proxy.ready["peer_id"] == "my-device_1"
    assert not (tmp_path / "state" / "peer-id").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(tmp_path: Path, site: str, number: signal.Signals) -> None:
    with start_proxy(tmp_path, site, "auto") as proxy:
        proxy.signal(number)
        assert proxy.wait() == 0
        assert "Traceback" not in proxy.output


def test_it_joins_a_signaling_server(tmp_path: Path, site: str) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server:
        signaling = server.ready["signaling"]
        with peerfetch(
            tmp_path, "proxy", "--target", site, "--signaling", signaling, "--peer-id", "device"
        ) as proxy:
            assert proxy.ready["signaling"] == signaling
            result = fetch(tmp_path, "peer://device/status/200", "--signaling", signaling)
            assert result.stdout == b"the body"
            code, says = proxy_fails(
                tmp_path, "--target", site, "--signaling", signaling, "--peer-id", "device"
            )
            assert code == 1
            assert "device" in says


def test_python_m_peerfetch_fast_proxy_is_the_same(tmp_path: Path, site: str) -> None:
    ready = tmp_path / "ready"
    with running(
        *(sys.executable, "-m", "peerfetch_fast.proxy", "--target", site),
        *("--listen", "127.0.0.1:0", "--ready-file", ready),
        log=tmp_path / "log",
        ready=ready.exists,
        env=environment(tmp_path),
    ) as process:
        content = json.loads(ready.read_text())
        assert content["pid"] == process.pid
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_ready_file_of_before_does_not_count(tmp_path: Path, site: str) -> None:
    ready = tmp_path / "ready"
    ready.write_text(json.dumps({"peer_id": "stale", "signaling": "ws://stale", "pid": 1}))

    def fresh() -> bool:
        return ready.exists() and json.loads(ready.read_text())["pid"] != 1

    with running(
        *(sys.executable, "-m", "peerfetch_fast", "proxy", "--target", site),
        *("--listen", "127.0.0.1:0", "--ready-file", ready),
        log=tmp_path / "log",
        ready=fresh,
        env=environment(tmp_path),
    ) as process:
        assert json.loads(ready.read_text())["pid"] == process.pid
    # And once it cannot be reached any more, the file does not say that it can.
    assert not ready.exists()


def test_ports_that_are_in_use(tmp_path: Path, site: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, says = proxy_fails(tmp_path, "--target", site, "--listen", address)
        assert code == 1
        assert "cannot listen on" in says


def test_a_state_directory_that_is_none(tmp_path: Path, site: str) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "state"
    code, says = proxy_fails(tmp_path, "--target", site, "--state-dir", state)
    assert code == 1
    assert says == f"peerfetch: {state}/peer-id: Not a directory"


def test_a_signaling_server_that_is_not_there_is_exit_code_6(tmp_path: Path, site: str) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    code, says = proxy_fails(tmp_path, "--target", site, "--signaling", url, "--wait", "0")
    assert code == 6
    assert url in says


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--target"),
        (["--tcp", "127.0.0.1:22"], "--tcp ssh=127.0.0.1:22"),
        (["--tcp", "a=h:1", "--tcp", "a=h:2"], "two ports"),
        (["--tcp", "a/b=h:1", "--listen", "127.0.0.1:0"], "is no name for a port"),
        (["--tcp", "ssh=22", "--listen", "127.0.0.1:0"], "HOST:PORT"),
        (["--serve", "/none/such", "--listen", "127.0.0.1:0"], "'/none/such' cannot be served"),
        (["--serve", ".", "--target", "http://x"], "at /: put different paths"),
        (["--target", "/a=http://x", "--serve", "/a/=.", "--listen", "127.0.0.1:0"], "two targets"),
        (["--target", "/a/../b=http://x", "--listen", "127.0.0.1:0"], "no path to serve at"),
        (["--target", "127.0.0.1:80", "--listen", "127.0.0.1:0"], "http://127.0.0.1:8080"),
        (["--target", "http://x:port", "--listen", "127.0.0.1:0"], "http://127.0.0.1:8080"),
        (["--target", "unix:app.sock", "--listen", "127.0.0.1:0"], "unix:/run/app.sock"),
        (["--target", "https://x", "--target-ca", "/missing/ca"], "/missing/ca"),
        (["--target", "https://x", "--target-pin", "x", "--listen", "127.0.0.1:0"], "sha256:"),
        (
            ["--target", "https://x", "--target-pin", "x", "--target-ca", __file__],
            "--target-ca and --target-pin exclude each other",
        ),
        (["--target", "http://x", "--target-answer-timeout", "0"], "--target-answer-timeout"),
        (["--target", "http://x", "--listen", "9000"], "HOST:PORT"),
        (["--target", "http://x", "--listen", "x:99999"], "HOST:PORT"),
        (["--target", "http://x", "--listen", "[::1:9"], "HOST:PORT"),
        (["--target", "http://x", "--peer-id", "a/b"], "peer id"),
        (["--target", "http://x", "--signaling", "not a url"], "not a url"),
        (["--target", "http://x", "--ice-server", "stun"], "ICE server"),
        (["--target", "http://x", "--log-level", "loud"], "loud"),
        (["--target", "http://x", "--access-token", ""], "empty"),
        (["--target", "http://x", "--access-token", "x" * 2000], "1024 bytes"),
        (["--target", "http://x", "--access-token-file", "/missing/token"], "/missing/token"),
        (["--target", "http://x", "--access-token-file", "/dev/null"], "empty"),
        (["--target", "http://x", "--access-token", "a", "--access-token-file", "b"], "exclude"),
        (["--target", "http://x", "--allow-origin", "null"], "is no origin"),
        (
            ["--target", "http://x", "--allow-origin", "http://a", "--signaling", "ws://b"],
            "joins ws://b",
        ),
        (
            ["--target", "http://x", "--tls-certificate", __file__, "--signaling", "ws://b"],
            "--tls-certificate is for the embedded signaling server",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    code, error = proxy_fails(tmp_path, *arguments)
    assert code == 2
    assert says in error


def test_files_that_cannot_be_used(tmp_path: Path, site: str) -> None:
    listen = ("--target", site, "--listen", "127.0.0.1:0")
    (tmp_path / "file").write_text("")
    code, says = proxy_fails(tmp_path, *listen, "--state-dir", tmp_path / "file" / "state")
    assert code == 1
    assert "file" in says
    (tmp_path / "state").mkdir()
    for content in (b"no/id\n", b"", b"\xff\xfe", b"x" * 100_000):
        (tmp_path / "state" / "peer-id").write_bytes(content)
        code, says = proxy_fails(tmp_path, *listen)
        assert code == 1
        assert "delete it" in says
    (tmp_path / "state" / "peer-id").unlink()
    (tmp_path / "state" / "certificate.pem").touch(0o644)
    code, says = proxy_fails(tmp_path, *listen)
    assert code == 1
    assert "chmod 600" in says
    (tmp_path / "state" / "certificate.pem").unlink()
    code, says = proxy_fails(tmp_path, *listen, "--ready-file", tmp_path / "missing" / "ready")
    assert code == 1
    assert "missing" in says


def test_the_target_need_not_be_there_yet(tmp_path: Path) -> None:
    with start_proxy(tmp_path, f"http://127.0.0.1:{free_port()}", "auto") as proxy:
        url = f"peer://{proxy.ready['peer_id']}/"
        result = fetch(tmp_path, url, "--signaling", proxy.ready["signaling"], "--fail")
        assert result.returncode == 22
        assert b"502" in result.stderr


def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{self.path} of {self.headers['Host']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.UnixStreamServer(str(tmp_path / "app.sock"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with start_proxy(tmp_path, f"/app=unix:{tmp_path}/app.sock", "auto") as proxy:
                url = f"peer://{proxy.ready['peer_id']}/app/a?"
                result = fetch(tmp_path, url, "--signaling", proxy.ready["signaling"])
                assert result.stdout == b"/a? of localhost"
        finally:
            server.shutdown()


def test_state_goes_where_the_environment_says(tmp_path: Path, site: str) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PEERFETCH_STATE_DIR"}
    ready = tmp_path / "ready"
    with running(
        *(sys.executable, "-m", "peerfetch_fast", "proxy", "--target", site),
        *("--listen", "127.0.0.1:0", "--ready-file", ready),
        log=tmp_path / "log",
        ready=ready.exists,
        env={**env, "XDG_STATE_HOME": str(tmp_path / "xdg")},
    ):
        kept = (tmp_path / "xdg" / "peerfetch" / "peer-id").read_text().strip()
        assert kept == json.loads(ready.read_text())["peer_id"]


def test_the_proxy_of_this_session_serves_many_clients(proxy: Process, tmp_path: Path) -> None:
    url = f"peer://{proxy.ready['peer_id']}/status/201"
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "peerfetch_fast", "fetch", url, "-i"),
                *("--signaling", proxy.ready["signaling"]),
            ],
            stdout=subprocess.PIPE,
            env=environment(tmp_path),
        )
        for _ in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert output.startswith(b"HTTP/2 201")


def test_the_files_of_an_old_proxy(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server:
        port = server.ready["signaling"].rpartition(":")[2]
        config, peer_id = tmp_path / "old.yaml", tmp_path / "old-id"
        config.write_text(f"signaling_server: 127.0.0.1\nport: {port}\nsecure: false\n")
        peer_id.write_text('{"peerId": "kept-for-years"}')
        monkeypatch.setenv("PEERJS_CONFIG_FILE", str(config))
        monkeypatch.setenv("PEERJS_PEERID_FILE", str(peer_id))
        with start_proxy(tmp_path, site, "auto") as proxy:
            assert proxy.ready["peer_id"] == "kept-for-years"
            assert proxy.ready["signaling"] == server.ready["signaling"]
        # What is said on the command line comes first.
        with start_proxy(tmp_path, site, "auto", "--peer-id", "other") as proxy:
            assert proxy.ready["peer_id"] == "other"
        config.write_text("log_level: loud")
        code, line = proxy_fails(tmp_path, "--target", site)
        assert code == 1
        assert "log_level" in line
