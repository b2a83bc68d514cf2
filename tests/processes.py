"""Programs in processes of their own, waited for by the files that they write when ready."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast.webrtc import HAVE_NATIVE

# What no process takes, on a machine that has others to run.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0

TRANSPORTS = ["aiortc", "native"]

ROOT = Path(__file__).parents[1]

PACKAGES = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
"""What a program in another directory needs as PYTHONPATH to find what these tests found."""

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc are POSIX's")


def require_transport(name: str) -> None:
    if name == "native" and not HAVE_NATIVE:
        pytest.skip("built without the native data path")
    if name == "aiortc":
        pytest.importorskip("aiortc")


class Process:
    """A running program; its output goes to a file, which is shown when something goes wrong."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self._log = log
        self.ready: dict[str, Any] = {}
        """What its ready file says."""

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._popen.kill()
        self._popen.wait()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {timeout} s:\n{self.output}") from None

    def sockets(self) -> int:
        """How many descriptors it has open, of any kind."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@contextlib.contextmanager
def running(
    *arguments: object, log: Path, ready: Callable[[], bool] | None = None, **options: Any
) -> Iterator[Process]:
    """Run a program until the block ends, which begins when ``ready()`` holds."""
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,
        )
    process = Process(popen, log)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while ready is not None and not ready():
            assert not process.ended, f"it ended with {popen.returncode}:\n{process.output}"
            assert time.monotonic() < deadline, f"it did not start in time:\n{process.output}"
            time.sleep(0.01)
        yield process
    finally:
        if not process.ended:
            popen.terminate()
            try:
                popen.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
                raise AssertionError(f"it did not end:\n{process.output}") from None


@contextlib.contextmanager
def peerfetch(
    directory: Path, command: str, *arguments: object, environ: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run ``peerfetch COMMAND``, one that writes a ready file."""
    ready = directory / f"{command}-{time.monotonic_ns()}.ready"
    with running(
        *(sys.executable, "-m", "peerfetch_fast", command),
        *("--ready-file", ready, *arguments),
        log=ready.with_suffix(".log"),
        ready=ready.exists,
        env=environment(directory) | dict(environ or {}),
    ) as process:
        process.ready = json.loads(ready.read_text())
        yield process


def environment(directory: Path) -> dict[str, str]:
    """The environment without the user's own state; a crash says where."""
    return {
        **os.environ,
        "PEERFETCH_STATE_DIR": str(directory / "state"),
        "PEERFETCH_CONFIG": os.devnull,
        "NO_COLOR": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def fetch(
    directory: Path,
    *arguments: object,
    timeout: float = 120.0,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``peerfetch fetch`` to its end; what it said is shown when the test fails."""
    done = subprocess.run(
        [sys.executable, "-m", "peerfetch_fast", "fetch", *map(str, arguments)],
        capture_output=True,
        timeout=timeout,
        check=False,
        env=environment(directory) | dict(environ or {}),
        **({"stdin": subprocess.DEVNULL} | options if "input" not in options else options),
    )
    said = done.stderr.decode(errors="replace")
    print(f"peerfetch fetch ended with {done.returncode}:\n{said}", file=sys.stderr)
    return done


def start_proxy(
    directory: Path, target: str, transport: str, *arguments: object
) -> contextlib.AbstractContextManager[Process]:
    """A proxy with an embedded signaling server."""
    return peerfetch(
        directory,
        "proxy",
        *("--target", target, "--listen", "127.0.0.1:0", "--transport", transport, *arguments),
    )


@contextlib.contextmanager
def uvicorn(directory: Path, app: str = "fastapi_app:app") -> Iterator[tuple[str, Process]]:
    """An application of tests/interop under uvicorn: URL and process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.set_inheritable(True)
        port = listening.getsockname()[1]
        log = directory / f"uvicorn-{port}.log"
        with running(
            *(sys.executable, "-m", "uvicorn", app, "--fd", listening.fileno()),
            *("--app-dir", ROOT / "tests" / "interop", "--timeout-graceful-shutdown", 1),
            log=log,
            ready=lambda: "startup complete" in log.read_text(),
            pass_fds=[listening.fileno()],
        ) as process:
            listening.close()
            yield f"http://127.0.0.1:{port}", process


def accepts(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to nobody meanwhile.

    Among those that it gives away, a connection to a server that is away can even meet itself.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
