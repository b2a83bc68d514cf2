"""Command lines that go wrong: exit code and words, in a pseudo-terminal and without."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from peerfetch_fast.cli.exit_codes import MEANINGS
from processes import PACKAGES, ROOT, environment, peerfetch, posix_only

pty = pytest.importorskip("pty")

pytestmark = posix_only

NOWHERE = "ws://127.0.0.1:1"

# What is typed (BUSY is a port that is taken), the exit code, and what is said.
CASES = [
    (["nonsense"], 2, "No such command 'nonsense'"),
    (["fetch"], 2, "Missing argument 'peer://PEER-ID/PATH[#PIN]'"),
    (["fetch", "http://x/"], 2, "write peer://PEER-ID/path"),
    (["fetch", "peer://cam/", "--signaling", NOWHERE], 6, NOWHERE),
    (["fetch", "peer://cam/", "--signaling", "x"], 2, "write ws://HOST:PORT"),
    (["fetch", "peer://cam/", "-b", "."], 26, "cannot read .: Is a directory"),
    (["fetch", "peer://cam/", "-O"], 23, "name the file with -o"),
    (["forward", "a/b"], 2, "write its id, or peer://PEER-ID"),
    (["forward", "cam", "--wait", "0", "--signaling", NOWHERE], 6, NOWHERE),
    (["signal", "--listen", "127.0.0.1:BUSY"], 1, "another program has that port: --listen"),
    (["signal", "--listen", "x"], 2, "HOST:PORT"),
    (["proxy"], 2, "say what to serve"),
    (["proxy", "--serve", ".", "--listen", "127.0.0.1:BUSY"], 1, "that port: --listen"),
    (["proxy", "--serve", ".", "--peer-id", "a b"], 2, "use letters, digits, '-' and '_'"),
    (["proxy", "--serve", ".", "--signaling", NOWHERE, "--wait", "0"], 6, NOWHERE),
    (
        ["proxy", "--serve", ".", "--signaling", NOWHERE, "--listen", "127.0.0.1:0"],
        2,
        "--listen is for the embedded signaling server",
    ),
]


def run(directory: Path, *arguments: str, terminal: bool) -> tuple[int, str]:
    """Exit code, and all that was said."""
    program = [sys.executable, "-m", "peerfetch_fast", *arguments]
    environ = environment(directory) | {"PYTHONPATH": PACKAGES, "COLUMNS": "80"}
    if not terminal:
        done = subprocess.run(
            program, capture_output=True, stdin=subprocess.DEVNULL, cwd=directory, env=environ,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        program, stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environ
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:
            pass  # Linux says so when the last that had it open is gone
        os.close(ours)
        return process.wait(60), said.decode().replace("\r\n", "\n")


@pytest.fixture
def busy() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize(
    ("arguments", "code", "says"), CASES, ids=[" ".join(case[0]) for case in CASES]
)
def test_each_fault_is_one_line_and_the_exit_code_of_the_table(
    tmp_path: Path, busy: socket.socket, arguments: list[str], code: int, says: str, terminal: bool
) -> None:
    port = str(busy.getsockname()[1])
    told = run(tmp_path, *(text.replace("BUSY", port) for text in arguments), terminal=terminal)
    assert told[0] == code, told
    (line,) = told[1].splitlines()
    assert line.startswith("peerfetch: ")
    assert says in line


def test_a_port_that_is_taken(tmp_path: Path, busy: socket.socket) -> None:
    port = str(busy.getsockname()[1])
    with peerfetch(tmp_path, "proxy", "--serve", tmp_path, "--listen", "127.0.0.1:0") as proxy:
        reach = (proxy.ready["peer_id"], "--signaling", proxy.ready["signaling"])
        for option, value in (("--port", port), ("--tcp", f"{port}:ssh")):
            code, said = run(tmp_path, "forward", *reach, option, value, terminal=False)
            assert code == 1
            assert said == (
                f"peerfetch: cannot listen on port {port} of 127.0.0.1: another program has it; "
                f"choose another with {option}\n"
            )


def test_short_tokens_silent_targets_and_missing_pages_are_warned_of(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:1"
    with peerfetch(
        tmp_path, "proxy", "--target", dead, "--listen", "127.0.0.1:0",
        "--access-token", "abc",
    ) as proxy:  # fmt: skip
        while "requests get 502" not in proxy.output:
            assert not proxy.ended, proxy.output
        warned = [line for line in proxy.output.splitlines() if line.startswith("peerfetch: ")]
    assert len(warned) == 2
    assert "short enough to be guessed" in warned[0]
    assert f"{dead} does not answer yet (Connection refused)" in warned[1]
    with peerfetch(tmp_path, "signal", "--path", "/x", "--listen", "127.0.0.1:0") as signaling:
        assert "peerfetch: with --path or --key, there is no page" in signaling.output


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_closed_standard_descriptors_are_not_reused(tmp_path: Path, closed: list[int]) -> None:
    """The connections take none of their places, and the process does not abort."""
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed)
    command = f"exec {sys.executable} -m peerfetch_fast fetch peer://cam/ --signaling {NOWHERE}"
    done = subprocess.run(
        ["sh", "-c", f"{command} {redirections}"],
        env=environment(tmp_path) | {"PYTHONPATH": PACKAGES},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 6, done.stderr
    assert b"Assertion" not in done.stderr


@pytest.mark.parametrize("columns", ["20", "40", "80"])
def test_summaries_are_whole_at_any_width(columns: str) -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=int(columns)).output
    _, _, listed = shown.partition("Commands:")
    words = " ".join(listed.split())
    assert "..." not in words
    # At the narrowest, long words are broken.
    letters = re.sub(r"[\s-]", "", listed)
    said = "Run a PeerJS-compatible signaling server, and the page for browsers."
    assert re.sub(r"[\s-]", "", said) in letters


def test_the_document_has_the_table() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    assert {int(code): text.replace("`", "") for code, text in rows} == MEANINGS
