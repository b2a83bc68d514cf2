"""``peerfetch fetch`` as people use it: as a process, with its output and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from processes import PACKAGES, Process, environment, fetch, free_port, posix_only, start_proxy

pytestmark = posix_only


Fetch = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def get(proxy: Process, tmp_path: Path) -> Fetch:
    """Run ``peerfetch fetch`` for a path behind the proxy: in this process, or one of its own.

    Where it is about descriptors, it takes a process; otherwise that is only slow.
    """

    def get(
        path: str, *arguments: object, process: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        url = f"peer://{proxy.ready['peer_id']}{path}"
        whole = (url, "--signaling", proxy.ready["signaling"], *map(str, arguments))
        if process:
            return fetch(tmp_path, *whole, **options)
        return fetch_here(*whole)

    return get


def failed(result: subprocess.CompletedProcess[bytes], code: int) -> str:
    """What a failure said: one sentence, no traceback."""
    error = result.stderr.decode()
    assert result.returncode == code, error
    assert "Traceback" not in error
    (line,) = error.strip().splitlines()
    assert line.startswith("peerfetch: ")
    return line


def fetch_here(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """As ``fetch``, in this process: for what goes wrong before there is much to do."""
    result = CliRunner().invoke(main, ["fetch", *arguments])
    return subprocess.CompletedProcess(
        arguments, result.exit_code, result.stdout_bytes, result.stderr_bytes
    )


def test_the_body_goes_to_standard_output(get: Fetch) -> None:
    result = get("/large", process=True)
    assert result.returncode == 0
    assert result.stdout == b"0123456789" * 70_000
    assert result.stderr == b""


def test_a_url_without_a_path(get: Fetch) -> None:
    result = get("")
    assert result.returncode == 0
    assert b"404" in result.stdout


def test_query_and_nothing_added_to_the_request(get: Fetch) -> None:
    got = json.loads(get("/echo?a=b%20c&d").stdout)
    assert got["method"] == "GET"
    assert got["target"] == "/echo?a=b%20c&d"
    names = [field.split(":")[0] for field in got["headers"]]
    assert names == ["forwarded", "host", "x-forwarded-for"]


def test_method_and_headers_are_sent_as_given(get: Fetch) -> None:
    got = json.loads(
        get("/echo", "-X", "PATCH", "-H", "X-A: 1", "-H", "x-a:2", "-H", "Empty:").stdout
    )
    assert got["method"] == "PATCH"
    assert {"x-a: 1", "x-a: 2", "empty: "} <= set(got["headers"])


@pytest.mark.parametrize(
    ("how", "sent"),
    [("text", "a=b&ä"), ("file", "of a\0file"), ("standard input", "piped\n"), ("pipe", "fifo")],
)
def test_data_is_sent_as_a_form_from_wherever_it_comes(
    get: Fetch, tmp_path: Path, how: str, sent: str
) -> None:
    data, options = sent, {}
    if how == "file":
        (tmp_path / "data").write_text(sent)
        data = f"@{tmp_path / 'data'}"
    elif how == "standard input":
        data, options = "@-", {"input": sent.encode()}
    elif how == "pipe":
        # As with a shell's @<(command): no regular file, and so without a length.
        os.mkfifo(tmp_path / "fifo")
        data = f"@{tmp_path / 'fifo'}"
        writing = threading.Thread(target=(tmp_path / "fifo").write_text, args=(sent,))
        writing.daemon = True  # where nobody comes to read, nothing waits for it in the end
        writing.start()
    process = how == "standard input"
    got = json.loads(get("/echo", "-d", data, process=process, **options).stdout)
    assert got["method"] == "POST"
    assert got["body"].encode("latin-1").decode() == sent
    assert "content-type: application/x-www-form-urlencoded" in got["headers"]
    known = f"content-length: {len(sent.encode())}" in got["headers"]
    assert known == (how in ("text", "file"))


def test_data_with_a_method_and_a_type_of_its_own(get: Fetch) -> None:
    got = json.loads(get("/echo", "-X", "PUT", "-d", "{}", "-H", "content-type: a/b").stdout)
    assert got["method"] == "PUT"
    assert "content-type: a/b" in got["headers"]


def test_a_large_upload_from_standard_input(get: Fetch) -> None:
    got = get("/echo", "-d", "@-", "-X", "PUT", process=True, input=b"x" * 1_000_000)
    assert len(json.loads(got.stdout)["body"]) == 1_000_000


def test_an_answer_that_comes_before_standard_input_ends(proxy: Process, tmp_path: Path) -> None:
    # Nobody ever types: the program must live on meanwhile, and not wait for input that is no
    # longer of use.
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "peerfetch_fast", "fetch", "-d", "@-"),
            *(f"peer://{proxy.ready['peer_id']}/early", "--signaling", proxy.ready["signaling"]),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.wait(60) == 0
            assert process.stdout.read() == b"enough"
            assert process.stderr.read() == b""
        finally:
            process.kill()


@pytest.mark.parametrize(("suffix", "target"), [("", "/echo"), ("?x", "/echo?x")])
def test_a_file_is_uploaded_with_put_to_its_name(
    get: Fetch, tmp_path: Path, suffix: str, target: str
) -> None:
    (tmp_path / "a file").write_bytes(b"of bytes")
    got = json.loads(get(f"/echo{suffix}", "-T", tmp_path / "a file").stdout)
    assert (got["method"], got["target"], got["body"]) == ("PUT", target, "of bytes")
    assert "content-length: 8" in got["headers"]
    assert not [line for line in got["headers"] if line.startswith("content-type")]


def test_uploading_into_a_directory_and_from_standard_input(get: Fetch, tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"of bytes")
    assert get("/echo/", "-T", tmp_path / "a file", "--fail").returncode == 22  # /echo/a%20file
    got = json.loads(get("/echo", "-T", "-", "-X", "POST", process=True, input=b"typed").stdout)
    assert (got["method"], got["body"]) == ("POST", "typed")


def test_redirects_are_followed_when_asked_for(get: Fetch) -> None:
    assert get("/moved").stdout == b"302: Found"
    assert get("/moved", "-L").stdout == b"the body"


def test_compressed_answers_when_asked_for(get: Fetch, tmp_path: Path) -> None:
    assert get("/packed").stdout == b"text " * 1000
    result = get("/packed", "--compressed", "-i", "-o", tmp_path / "out")
    assert result.returncode == 0
    head, body = (tmp_path / "out").read_bytes().split(b"\r\n\r\n")
    assert b"content-encoding: " in head
    assert body == b"text " * 1000


def test_an_output_that_is_no_file_is_written_to_as_it_is(get: Fetch, tmp_path: Path) -> None:
    assert get("/large", "-o", "/dev/null").returncode == 0
    os.mkfifo(tmp_path / "pipe")
    got = []
    reading = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reading.daemon = True
    reading.start()
    assert get("/large", "-o", tmp_path / "pipe").returncode == 0
    reading.join()
    assert got == [b"0123456789" * 70_000]
    assert not list(tmp_path.glob("*.part*"))


def test_output_to_a_file(get: Fetch, tmp_path: Path) -> None:
    result = get("/large", "-o", tmp_path / "out")
    assert result.returncode == 0
    assert result.stdout == result.stderr == b""  # no progress where there is no terminal
    assert (tmp_path / "out").read_bytes() == b"0123456789" * 70_000


def test_head_of_the_answer(get: Fetch) -> None:
    result = get("/status/404", "-i")
    assert result.returncode == 0
    head, body = result.stdout.split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/2 404"
    assert [line for line in lines if line.startswith("x-two")] == ["x-two: a", "x-two: b"]
    assert body == b"the body"


def test_a_head_request_prints_the_head_alone(get: Fetch, tmp_path: Path) -> None:
    result = get("/large", "-X", "HEAD", "-i", "-o", tmp_path / "out")
    assert result.returncode == 0
    assert (tmp_path / "out").read_bytes().endswith(b"\r\n\r\n")
    assert b"content-length: 700000" in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (302, 0), (400, 22), (503, 22)])
def test_with_fail_an_error_status_is_exit_code_22_and_no_output(
    get: Fetch, tmp_path: Path, status: int, code: int
) -> None:
    result = get(f"/status/{status}", "--fail", "-o", tmp_path / "out")
    assert result.returncode == code
    if code:
        assert str(status) in failed(result, 22)
        assert not (tmp_path / "out").exists()
    else:
        assert (tmp_path / "out").read_text() == "the body"


@pytest.mark.parametrize("signaling", ["x", "ftp://x", "ws://", "ws://user:secret@x/"])
def test_signaling_servers_that_are_none(signaling: str) -> None:
    result = fetch_here("peer://x/", "--signaling", signaling)
    assert "ws://" in failed(result, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-H", "no colon"], "Name: value"),
        (["-H", ": value"], "Name: value"),
        (["-H", "a b: c"], "header name"),
        (["-H", "a: b\nc: d"], "characters"),
        (["-X", "GE T"], "method"),
        (["--timeout", "soon"], "soon"),
        (["--timeout", "-1"], "x>0"),
        (["--timeout", "0"], "x>0"),
        (["--ice-server", "http://x"], "no ICE server"),
        (["--ice-server", "turn:x:1"], "login"),
        (["--transport", "pigeon"], "pigeon"),
        (["--pin", "sha256:00"], "no pin"),
        (["--access-token", ""], "empty"),
        (["--nonsense"], "nonsense"),
        (["-C", "-"], "name it with -o"),
        (["-C", "100", "-o", "x"], "-"),
        (["-d", "a", "-T", "b"], "two bodies"),
        (["-C", "-", "-r", "0-1", "-o", "x"], "leave -r out"),
        (["-o", "x", "-O"], "two files"),
        (["-F", "no field"], "NAME=TEXT"),
        (["-F", "a=b;c"], "quotes"),
        (["-w", "@no such file"], "no such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(
    proxy: Process, arguments: list[str], says: str
) -> None:
    url = f"peer://{proxy.ready['peer_id']}/echo"
    result = fetch_here(url, "--signaling", proxy.ready["signaling"], *arguments)
    assert says in failed(result, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-d", "@no such file"], "no such file"),
        (["-d", "@."], "directory"),
        (["-T", "no such file"], "no such file"),
        (["-F", "a=@no such file"], "no such file"),
        (["-b", "/"], "/: Is a directory"),
    ],
)
def test_a_file_to_send_that_cannot_be_read_is_exit_code_26(
    proxy: Process, arguments: list[str], says: str
) -> None:
    url = f"peer://{proxy.ready['peer_id']}/echo"
    result = fetch_here(url, "--signaling", proxy.ready["signaling"], *arguments)
    assert says in failed(result, 26)


@pytest.mark.parametrize(
    "url",
    [
        "http://x/",
        "peer:",
        "peer:///path",
        "path",
        "",
        "peer://[x/",
        "peer://a:b@c/",
        "peer://a%2Fb/",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    assert "peer" in failed(fetch_here(url), 2)


def test_a_signaling_server_that_is_not_there_is_exit_code_6() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    assert url in failed(fetch_here("peer://somebody/", "--signaling", url), 6)


def test_the_signaling_server_may_come_from_the_environment(
    proxy: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERFETCH_SIGNALING", proxy.ready["signaling"])
    assert fetch_here(f"peer://{proxy.ready['peer_id']}/status/200").stdout == b"the body"


def test_a_peer_that_is_not_there_is_exit_code_6(proxy: Process) -> None:
    result = fetch_here("peer://nobody/", "--signaling", proxy.ready["signaling"])
    assert "nobody" in failed(result, 6)


@pytest.mark.parametrize("name", ["garage-cam", "a1"])
def test_a_name_that_is_not_paired(proxy: Process, name: str) -> None:
    error = failed(fetch_here(f"peer://{name}/", "--signaling", proxy.ready["signaling"]), 6)
    assert f"`peerfetch pair {name} peer://PEER-ID`" in error
    assert "no device is paired" in error


def test_an_id_that_is_no_name_is_not_said_to_be_unpaired(proxy: Process) -> None:
    for peer_id in ("a" * 32, "Not_A_Name"):
        result = fetch_here(f"peer://{peer_id}/", "--signaling", proxy.ready["signaling"])
        assert "paired" not in failed(result, 6)


def test_a_redirect_that_is_not_followed_is_said(get: Fetch, proxy: Process) -> None:
    result = get("/moved")
    assert result.returncode == 0
    url = f"peer://{proxy.ready['peer_id']}/status/200"
    assert (
        result.stderr.decode()
        == f"peerfetch: the answer redirects to {url}: with -L, it is followed\n"
    )
    assert get("/moved", "-s").stderr == b""
    result = get("/away")
    assert b"'http://example.com/', which is not on this peer" in result.stderr
    assert "not on this peer" in failed(get("/away", "-L"), 47)


def test_interrupting_says_how_to_go_on(proxy: Process, tmp_path: Path) -> None:
    for arguments, path in ((["-o", "out"], tmp_path / "out.part"), ([], tmp_path / "stdout")):
        with (tmp_path / "stdout").open("wb") as stdout:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "peerfetch_fast", "fetch", *arguments),
                    f"peer://{proxy.ready['peer_id']}/slowly",
                    *("--signaling", proxy.ready["signaling"]),
                ],
                stdout=stdout,
                stderr=subprocess.PIPE,
                cwd=tmp_path,
                env=environment(tmp_path) | {"PYTHONPATH": PACKAGES},
                # Shells have what they start in the background ignore it, and so would this.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        try:
            while not (path.exists() and path.stat().st_size) and process.poll() is None:
                threading.Event().wait(0.02)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, error
        assert b"Traceback" not in error
        assert b"-C -" in error
        assert error.endswith(b"peerfetch: interrupted\n") == bool(arguments)
    assert (tmp_path / "out.part").exists()


def test_an_answer_that_is_cut_short(get: Fetch) -> None:
    for process in (False, True):
        failed(get("/cut", process=process), 18)


def test_an_answer_that_takes_too_long_is_exit_code_28(get: Fetch) -> None:
    assert "0.3 s" in failed(get("/never", "--timeout", "0.3"), 28)


def test_output_that_cannot_be_written(get: Fetch, tmp_path: Path) -> None:
    error = failed(get("/status/200", "-o", tmp_path / "missing" / "out"), 23)
    assert error == f"peerfetch: {tmp_path}/missing/out.part: No such file or directory"


def test_a_directory_that_is_not_there_is_no_file_to_write(get: Fetch, tmp_path: Path) -> None:
    assert "is a directory" in failed(get("/status/200", "-o", f"{tmp_path}/missing/"), 2)
    assert not (tmp_path / "missing").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_exit_code_23(get: Fetch) -> None:
    assert "space" in failed(get("/large", "-o", "/dev/full"), 23)


def test_a_reader_that_leaves(proxy: Process, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "peerfetch_fast", "fetch"),
            *(f"peer://{proxy.ready['peer_id']}/large", "--signaling", proxy.ready["signaling"]),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"0123456789"
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(60) == 23
        assert b"Traceback" not in error
        assert b"Exception ignored" not in error


def test_the_proxy_dies_inside_the_answer(site: str, tmp_path: Path) -> None:
    with start_proxy(tmp_path, site, "auto", "--log-level", "info") as proxy:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "peerfetch_fast", "fetch", "--log-level", "info"),
                *(f"peer://{proxy.ready['peer_id']}/never", "-o", str(tmp_path / "out")),
                *("--signaling", proxy.ready["signaling"], "--retry-max-time", "1"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
        )
        with process:
            try:
                while "is connected" not in proxy.output and process.poll() is None:
                    threading.Event().wait(0.02)
                proxy.kill()
                _, error = process.communicate(timeout=60)
            finally:
                process.kill()
            assert process.returncode in (7, 56), error
            assert b"Traceback" not in error
            assert not (tmp_path / "out").exists()


def test_only_the_right_access_token_gets_an_answer(site: str, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from a file\nand no more")
    with start_proxy(tmp_path, site, "auto", "--access-token-file", secret) as guarded:
        assert "who knows the access token" in guarded.output
        assert "from a file" not in guarded.output
        url = f"peer://{guarded.ready['peer_id']}/status/200"
        signaling = ("--signaling", guarded.ready["signaling"])
        result = fetch(tmp_path, url, *signaling, "--access-token", "from a file")
        assert result.stdout == b"the body"
        result = fetch(tmp_path, url, *signaling, "--access-token-file", secret)
        assert result.stdout == b"the body"
        result = fetch(tmp_path, url, *signaling, "-i")
        assert result.stdout.startswith(b"HTTP/2 401")
        assert result.stdout.rstrip().endswith(b"This device asks for an access token.")
        assert b"give it with --access-token-file or --access-token" in result.stderr
        result = fetch(tmp_path, url, *signaling, "--access-token", "wrong")
        assert result.returncode == 67
        assert result.stdout == b""
        assert len(result.stderr.splitlines()) == 1
        assert b"the access token is wrong" in result.stderr


def test_a_changed_certificate_is_exit_code_60_and_stays_unknown(site: str, tmp_path: Path) -> None:
    known = tmp_path / "state" / "known_peers"
    outputs = []
    for name in ("one", "two"):
        with start_proxy(
            tmp_path, site, "auto", "--peer-id", "device", "--state-dir", tmp_path / name
        ) as proxy:
            result = fetch(
                *(tmp_path, "peer://device/status/200", "--signaling", proxy.ready["signaling"])
            )
            outputs.append((result.returncode, result.stdout))
    assert outputs == [(0, b"the body"), (60, b"")]
    assert known.read_text().count("device") == 1
    assert f"remove line 1 of {known}".encode() in result.stderr
