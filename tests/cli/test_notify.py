from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerfetch_fast.cli import notify
from processes import START_TIMEOUT, environment, posix_only, running

pytestmark = posix_only

NOBODY = "ws://127.0.0.1:9"


class Manager:
    """As much of a service manager as listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(START_TIMEOUT)

    def hear(self, text: str, times: int = 1) -> None:
        """Listen until that was said so often."""
        while sum(text in one for one in self.heard) < times:
            self.heard.append(self._socket.recv(4096).decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "n")
    yield manager
    manager.close()


def command(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "peerfetch_fast", *arguments]


def test_a_service_says_when_it_is_ready_and_when_it_ends(tmp_path: Path, manager: Manager) -> None:
    environ = environment(tmp_path) | {"NOTIFY_SOCKET": str(manager.path)}
    serving = command("proxy", "--serve", tmp_path, "--listen", "127.0.0.1:0")
    with running(*serving, log=tmp_path / "log", env=environ) as proxy:
        manager.hear("READY=1")
        proxy.signal(signal.SIGTERM)
        manager.hear("STOPPING=1")
        assert proxy.wait() == 0
    # Without a watchdog that is asked for, there are no signs of life.
    assert manager.heard == ["READY=1\nSTATUS=", "STOPPING=1"]


def test_a_proxy_that_waits_for_its_network_has_started(tmp_path: Path, manager: Manager) -> None:
    environ = environment(tmp_path) | {"NOTIFY_SOCKET": str(manager.path)}
    waiting = command("proxy", "--serve", tmp_path, "--signaling", NOBODY)
    with running(*waiting, log=tmp_path / "log", env=environ):
        manager.hear("READY=1\nSTATUS=waiting: ")
    assert "cannot be reached" in manager.heard[0]


def test_signs_of_life_end_when_the_event_loop_stands_still(
    tmp_path: Path, manager: Manager
) -> None:
    environ = environment(tmp_path) | {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "100000",
    }
    with running(
        *command("signal", "--listen", "127.0.0.1:0"), log=tmp_path / "log", env=environ
    ) as server:
        manager.hear("WATCHDOG=1", times=3)
        began = time.monotonic()
        manager.hear("WATCHDOG=1", times=5)
        assert time.monotonic() - began > 0.05  # two of 0.05 s
        server.signal(signal.SIGSTOP)
        manager._socket.settimeout(1.0)
        with pytest.raises(TimeoutError):
            manager.hear("WATCHDOG=1", times=100)
        server.signal(signal.SIGCONT)


def test_a_watchdog_of_another_process_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    assert notify._watchdog_interval() == 1.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert notify._watchdog_interval() == 1.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert notify._watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_PID", "x")
    assert notify._watchdog_interval() is None


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_the_manager_may_have_an_abstract_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"peerfetch-test-{os.getpid()}"
        listening.bind(f"\0{name}")
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify.status("two\nlines")
        assert listening.recv(100) == b"READY=1\nSTATUS=two lines"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:1"])
def test_without_a_manager_nobody_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.ready()
