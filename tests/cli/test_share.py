"""``peerfetch share`` and ``peerfetch get``, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sharing.conftest import contents_of, fill

from peerfetch_fast.sharing.links import parse_link
from processes import Process, environment, peerfetch, posix_only

pytestmark = posix_only

TIMEOUT = 240
LARGE = 64 * 1024 * 1024
KILLS = 10


def begin(directory: Path, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "peerfetch_fast", *map(str, arguments)],
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        | {"env": environment(directory)}
        | options,  # type: ignore[call-overload]
    )


def get(directory: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    process = begin(directory, "get", *arguments)
    out, err = process.communicate(timeout=TIMEOUT)
    print(err.decode(errors="replace"), file=sys.stderr)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def sharing(directory: Path, *arguments: object) -> Iterator[Process]:
    with peerfetch(directory, "share", "--listen", "127.0.0.1:0", *arguments) as process:
        yield process


def test_what_programs_may_obey_is_shown_first(tmp_path: Path) -> None:
    names = [*(f"{number}.jpg" for number in range(30)), ".profile"]
    for name in names:
        (tmp_path / name).write_text(name)
    with sharing(tmp_path, *(tmp_path / name for name in names)) as process:
        done = get(tmp_path, process.ready["link"], "-o", tmp_path / "in")
    lines = done.stderr.decode().splitlines()
    assert lines[1:3] == [
        "  1 of them begin with a dot, which programs may obey:",
        "      8 B  .profile",
    ]
    assert "  and 11 more" in lines
    assert done.returncode == 2


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_ends_while_nothing_comes_on_standard_input(tmp_path: Path) -> None:
    ours, stdin = os.pipe()
    with contextlib.ExitStack() as stack:
        for descriptor in (ours, stdin):
            stack.callback(os.close, descriptor)
        process = begin(
            tmp_path,
            *("share", "-", "--listen", "127.0.0.1:0"),
            stdin=ours,
            stdout=subprocess.DEVNULL,
            env=environment(tmp_path) | {"TMPDIR": str(tmp_path)},
        )
        stack.enter_context(process)
        stack.callback(process.kill)
        wait_until(lambda: any(tmp_path.glob("peerfetch-*/stdin")))
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        assert not any(tmp_path.glob("peerfetch-*/stdin"))


def test_an_inbox_tells_the_code_that_follows_one_that_was_guessed_at(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "inbox", tmp_path / "in", "--listen", "127.0.0.1:0") as inbox:
        number, first, second = inbox.ready["code"].split("-")
        guess = f"{number}-{second}-{first}" if first != second else f"{number}-able-boat"
        for _ in range(3):
            assert get(tmp_path, guess, "--signaling", inbox.ready["signaling"]).returncode != 0
        wait_until(lambda: inbox.output.count("code  ") == 2)


@pytest.mark.parametrize("to", ["a-terminal", "a-file"])
def test_it_ends_while_somebody_is_asked_about(tmp_path: Path, to: str) -> None:
    (tmp_path / "x").write_text("x")
    ready, log = tmp_path / "ready", tmp_path / "log"
    ours, terminal = pty.openpty()
    os.set_blocking(ours, False)
    with log.open("wb") as file:
        arguments = ("--ask", "--listen", "127.0.0.1:0", "--ready-file", ready, tmp_path / "x")
        out = terminal if to == "a-terminal" else file
        process = begin(tmp_path, "share", *arguments, stdin=terminal, stdout=out, stderr=file)
    shown = bytearray()

    def is_asked() -> bool:
        with contextlib.suppress(BlockingIOError):
            shown.extend(os.read(ours, 4096))
        return b"Let them?" in shown + log.read_bytes()

    with contextlib.ExitStack() as stack:
        for descriptor in (ours, terminal):
            stack.callback(os.close, descriptor)
        stack.enter_context(process)
        stack.callback(process.kill)
        wait_until(ready.exists)
        receiver = begin(tmp_path, "get", "-y", json.loads(ready.read_text())["link"])
        stack.enter_context(receiver)
        stack.callback(receiver.kill)
        wait_until(is_asked)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
        assert "Fatal" not in log.read_text()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(random.Random(3).randbytes(LARGE))
    return path


def test_from_the_code_and_the_link_to_the_files(tmp_path: Path) -> None:
    fill(tmp_path)
    expected = contents_of(tmp_path / "src")
    with sharing(tmp_path, tmp_path / "src") as process:
        ready = process.ready
        assert ready["pid"] == process.pid
        assert f"peerfetch get {ready['code']}" in process.output
        assert ready["link"] in process.output
        first = get(tmp_path, ready["link"], "-o", tmp_path / "1", "--yes")
        assert first.returncode == 0
        assert first.stderr.splitlines()[-1].startswith(f"{len(expected)} files are in ".encode())
        second = get(
            tmp_path, ready["code"], "--signaling", ready["signaling"], "-yq", "-o", tmp_path / "2"
        )
        assert (second.returncode, second.stdout, second.stderr) == (0, b"", b"")
        process.signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.output.count("all, verified") == 2
    assert contents_of(tmp_path / "1/src") == contents_of(tmp_path / "2/src") == expected


def test_once_is_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with sharing(tmp_path, "--once", tmp_path / "x") as process:
        assert get(tmp_path, process.ready["link"], "-y", "-o", tmp_path / "1").returncode == 0
        assert process.wait() == 0


def test_a_time_that_is_over(tmp_path: Path) -> None:
    with sharing(tmp_path, "--text", "x", "--expire", "0.0001") as process:
        assert process.wait() == 0
        assert "The time is over" in process.output


def test_text_and_standard_input(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = begin(
        tmp_path,
        *("share", "-", "--text", "one\n\x1b[2Jtwo", "--ready-file", ready),
        *("--listen", "127.0.0.1:0"),
        stdin=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(b"from a pipe")
        process.stdin.close()
        deadline = time.monotonic() + TIMEOUT
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        link = json.loads(ready.read_text())["link"]
        done = get(tmp_path, link, "-y", "-o", tmp_path / "out")
        assert done.stdout == b"one\n\\x1b[2Jtwo\n"
        assert contents_of(tmp_path / "out") == {"stdin": b"from a pipe"}
    finally:
        process.terminate()
        process.wait(TIMEOUT)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def test_nobody_is_asked_where_there_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with sharing(tmp_path, tmp_path / "x") as process:
        done = get(tmp_path, process.ready["link"], "-o", tmp_path / "out")
        assert done.returncode == 2
        assert b"--yes" in done.stderr
        assert not (tmp_path / "out").exists()
        listed = get(tmp_path, process.ready["link"], "--list")
        assert (listed.returncode, b"1 B  x" in listed.stderr) == (0, True)


def test_what_is_here_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("theirs")
    (tmp_path / "x").chmod(0o751)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("mine")
    with sharing(tmp_path, tmp_path / "x") as process:
        where = (process.ready["link"], "-y", "-o", tmp_path / "out")
        refused = get(tmp_path, *where)
        assert refused.returncode == 1
        assert b"not overwritten: x" in refused.stderr
        assert get(tmp_path, *where, "--rename").returncode == 0
        assert contents_of(tmp_path / "out") == {"x": b"mine", "x (2)": b"theirs"}
        assert get(tmp_path, *where, "--overwrite").returncode == 0
        assert (tmp_path / "out/x").read_text() == "theirs"
        assert stat.S_IMODE((tmp_path / "out/x").stat().st_mode) == 0o751


def test_files_that_changed_are_named(tmp_path: Path) -> None:
    for name in "xy":
        (tmp_path / name).write_text(name)
    with sharing(tmp_path, tmp_path / "x", tmp_path / "y") as process:
        (tmp_path / "x").write_text("longer")
        done = get(tmp_path, process.ready["link"], "-y", "-o", tmp_path / "out")
        assert done.returncode == 18
        assert b"not received: x: it was 1 bytes when it was offered, and is 6 now" in done.stderr
        assert contents_of(tmp_path / "out") == {"y": b"y"}
        process.signal(signal.SIGTERM)
        process.wait()
        assert "x: it was 1 bytes" in process.output


def test_a_permanent_link_outlives_the_process(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    links = []
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as meeting:
        at = ("--signaling", meeting.ready["signaling"])
        for number in range(2):
            arguments = ("--permanent", "photos", *at, tmp_path / "x")
            with peerfetch(tmp_path, "share", *arguments) as process:
                links.append(process.ready["link"])
                done = get(tmp_path, links[0], "-y", "-o", tmp_path / str(number))
                assert done.returncode == 0
                process.kill()
    assert links[0] == links[1]


def test_sent_to_an_inbox_and_to_a_device(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    (tmp_path / "pub/deep").mkdir(parents=True)
    with peerfetch(tmp_path, "inbox", tmp_path / "in", "--listen", "127.0.0.1:0") as inbox:
        to = (inbox.ready["code"], "--signaling", inbox.ready["signaling"])
        sent = begin(tmp_path, "share", tmp_path / "file", tmp_path / "src", "--to", *to)
        out, err = sent.communicate(timeout=TIMEOUT)
        assert sent.returncode == 0, err
        assert out.startswith("✓ file (100 kB) to ".encode())
        assert "✓ src.zip" in inbox.output
    with peerfetch(
        tmp_path, "proxy", "--serve", tmp_path / "pub", "--upload", "--listen", "127.0.0.1:0"
    ) as proxy:
        ready = proxy.ready
        to = (f"peer://{ready['peer_id']}/deep/", "--signaling", ready["signaling"])
        sent = begin(tmp_path, "share", "-", "--to", *to, stdin=subprocess.PIPE)
        out, err = sent.communicate(b"from a pipe", timeout=TIMEOUT)
        assert sent.returncode == 0, err
        assert "✓ deep/stdin (11 B) from " in proxy.output
    found = contents_of(tmp_path / "in")
    assert found.keys() == {"file", "src.zip"}
    assert found["file"] == (tmp_path / "file").read_bytes()
    assert contents_of(tmp_path / "pub") == {"deep/stdin": b"from a pipe"}


def test_unusable_arguments(tmp_path: Path) -> None:
    for arguments, code in (
        (("share",), 2),
        (("share", "--ask", tmp_path), 2),
        (("share", tmp_path / "none"), 1),
        (("share", "--permanent", "../x", tmp_path), 1),
        (("get", "no code"), 2),
        (("get", "123-none-such"), 2),
    ):
        process = begin(tmp_path, *arguments)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == code, arguments


def test_either_end_is_killed_ten_times(tmp_path: Path, large: Path) -> None:
    """With SIGKILL, at random, in the middle of a transfer: each time it goes on from what came."""
    rng = random.Random(11)
    out = tmp_path / "out"
    kills, before = 0, 0
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as meeting:
        at = ("--signaling", meeting.ready["signaling"], "--permanent", "x", large)
        with contextlib.ExitStack() as stack:
            sender = stack.enter_context(peerfetch(tmp_path, "share", *at))
            link = parse_link(sender.ready["link"])
            assert link is not None
            while kills < KILLS:
                receiver = begin(tmp_path, "get", link, "-y", "-o", out)
                goal = before + rng.randrange(1, LARGE // (KILLS + 2))
                while have(out) < goal and receiver.poll() is None:
                    time.sleep(0.001)
                assert have(out) >= before, "what had come was lost"
                if kills % 2:
                    sender.kill()
                    sender = stack.enter_context(peerfetch(tmp_path, "share", *at))
                if not (out / "large").exists():
                    receiver.send_signal(signal.SIGKILL)
                receiver.communicate(timeout=TIMEOUT)
                before = have(out)
                kills += 1
            last = get(tmp_path, link, "-y", "-o", out)
            assert last.returncode == 0
    assert (out / "large").read_bytes() == large.read_bytes()
    assert os.listdir(out) == ["large"]


def have(directory: Path) -> int:
    """Bytes that are there."""
    if not directory.exists():
        return 0
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in directory.iterdir())
    return LARGE
