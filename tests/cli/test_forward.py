"""``peerfetch forward`` as people use it: with curl, as a process."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from peerfetch_fast.devices import Device, save_device
from processes import Process, environment, free_port, peerfetch, posix_only, running

pytestmark = posix_only

curl_only = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def forward(proxy: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("forward")
    with start(directory, proxy) as process:
        yield process


def start(directory: Path, proxy: Process, *arguments: object):  # type: ignore[no-untyped-def]
    return peerfetch(
        directory,
        "forward",
        *(f"peer://{proxy.ready['peer_id']}", "--port", "0"),
        *("--signaling", proxy.ready["signaling"], *arguments),
    )


def curl(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["curl", "-sS", *map(str, arguments)], capture_output=True, timeout=120, check=False
    )


@curl_only
def test_curl_gets_whole_answers_and_a_foreign_host_403(forward: Process, tmp_path: Path) -> None:
    url = forward.ready["url"]
    assert curl(f"{url}/large").stdout == b"0123456789" * 70_000
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    expect = ("-H", "Expect: 100-continue")  # as curl does by itself for larger ones
    got = json.loads(curl("-T", tmp_path / "file", *expect, f"{url}/echo").stdout)
    assert (got["method"], len(got["body"])) == ("PUT", 1_000_000)
    result = curl("-L", "-w", "%{http_code} %{url_effective}", f"{url}/moved")
    assert result.stdout == f"the body200 {url}/status/200".encode()
    assert curl("--compressed", f"{url}/packed").stdout == b"text " * 1000
    answer = curl("-i", "-H", "Host: rebound.example", url).stdout
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"--allow-host" in answer


@curl_only
def test_an_answer_that_is_cut_short(forward: Process) -> None:
    # Not before curl has the head: a reset may overtake it, and the answer is then a 502.
    url = forward.ready["url"]
    command = ["curl", "-sSN", f"{url}/cut/later"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"half"
        curl("-X", "POST", f"{url}/cut/now")
        assert process.wait(120) == 18


def test_it_tells_where_it_is_and_ends_when_told_to(proxy: Process, tmp_path: Path) -> None:
    with start(tmp_path, proxy) as process:
        url = process.ready["url"]
        assert url.startswith("http://127.0.0.1:")
        assert url in process.output
        assert proxy.ready["peer_id"] in process.output
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert not list(tmp_path.glob("*.ready"))


def test_a_tcp_port_carries_bytes_both_ways_until_each_end_closes(
    proxy: Process, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        address = f"127.0.0.1:{service.getsockname()[1]}"
        (tmp_path / "device").mkdir()
        with (
            peerfetch(
                tmp_path / "device", "proxy", "--tcp", f"echo={address}", "--listen", "127.0.0.1:0"
            ) as device,
            peerfetch(
                tmp_path,
                "forward",
                *(device.ready["peer_id"], "--tcp", "0:echo"),
                *("--signaling", device.ready["signaling"]),
            ) as process,
        ):
            assert "url" not in process.ready  # there is no HTTP to forward
            host, _, port = process.ready["tcp"]["echo"].partition(":")
            with socket.create_connection((host, int(port)), timeout=60) as client:
                accepted, _ = service.accept()
                with accepted:
                    client.sendall(b"ping")
                    client.shutdown(socket.SHUT_WR)
                    assert accepted.makefile("rb").read() == b"ping"
                    accepted.sendall(b"pong")
                assert client.makefile("rb").read() == b"pong"


@pytest.mark.parametrize("tcp", ["", "22", "ssh:22", "2222:", "65536:ssh", "-1:ssh", "1:a/b"])
def test_tcp_ports_that_are_none(tcp: str) -> None:
    assert "--tcp 2222:ssh" in fails(2, "somebody", "--tcp", tcp)


def test_a_device_that_was_paired(proxy: Process, tmp_path: Path) -> None:
    found = proxy.ready
    device = Device(found["peer_id"], found["signaling"], found["fingerprint"])
    save_device(tmp_path / "state", "garage-cam", device)
    with peerfetch(tmp_path, "forward", "garage-cam", "--port", "0") as process:
        assert process.ready["peer_id"] == found["peer_id"]
    # By the pin that it was paired with, and not by the first use.
    assert not (tmp_path / "state" / "known_peers").exists()


def fails(code: int, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["forward", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output.strip().splitlines()[-1]


@pytest.mark.parametrize("peer", ["", "http://x/", "peer://x/path", "a@b"])
def test_peers_that_are_none(peer: str) -> None:
    assert "peer" in fails(2, peer)


def test_a_pin_that_is_none() -> None:
    assert "no pin" in fails(2, "somebody", "--pin", "sha256:00")
    assert "no pin" in fails(2, "somebody#sha256:00")


def test_a_peer_that_is_not_there(proxy: Process) -> None:
    assert "nobody" in fails(6, "nobody", "--wait", "0", "--signaling", proxy.ready["signaling"])


def test_a_signaling_server_that_is_not_there_is_exit_code_6() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    assert url in fails(6, "somebody", "--wait", "0", "--signaling", url)


def waiting(directory: Path, *arguments: object):  # type: ignore[no-untyped-def]
    """``peerfetch`` with these arguments, once it says that it waits."""
    log = directory / "log"
    return running(
        *(sys.executable, "-m", "peerfetch_fast", *arguments),
        log=log,
        ready=lambda: "waiting: " in log.read_text(),
        env=environment(directory),
    )


def test_it_waits_for_its_server_and_for_its_device(site: str, tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    signaling = ("--signaling", f"ws://{listen}")
    for name in ("forward", "device", "signal"):
        (tmp_path / name).mkdir()
    ready = tmp_path / "ready"
    arguments = ("forward", "device", "--port", "0", *signaling, "--ready-file", ready)
    proxy = ("proxy", "--target", site, "--peer-id", "device", *signaling)
    with (
        waiting(tmp_path / "forward", *arguments) as process,
        waiting(tmp_path / "device", *proxy) as device,
        peerfetch(tmp_path / "signal", "signal", "--listen", listen),
    ):
        for _ in range(6000):
            if ready.exists():
                break
            time.sleep(0.01)
        assert "forwarding http://" in process.output
        for each in (process, device):
            assert "not there yet: waiting: " in each.output
            each.signal(signal.SIGTERM)
            assert each.wait() == 0


def test_a_name_that_nobody_has_paired_is_said_to_be_that(tmp_path: Path) -> None:
    says = "no device is paired as garage here: `peerfetch pair garage"
    (tmp_path / "signal").mkdir()
    with peerfetch(tmp_path / "signal", "signal", "--listen", "127.0.0.1:0") as server:
        arguments = ("forward", "garage", "--port", "0", "--signaling", server.ready["signaling"])
        with waiting(tmp_path, *arguments) as process:
            for _ in range(6000):
                if says in process.output:
                    break
                time.sleep(0.01)
            assert says in process.output
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        failed = subprocess.run(
            [sys.executable, "-m", "peerfetch_fast", *arguments, "--wait", "0"],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert says in failed.stderr
        assert failed.returncode == 6


def test_it_ends_in_order_while_it_waits(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    with waiting(tmp_path, "forward", "device", "--signaling", url) as process:
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_port_that_is_taken(proxy: Process) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = (proxy.ready["peer_id"], "--signaling", proxy.ready["signaling"])
        assert port in fails(1, *arguments, "--port", port)
