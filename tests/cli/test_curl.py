"""``curl`` beside ``peerfetch fetch``: the options that both have, against the same server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from processes import Process, posix_only

pytestmark = [
    posix_only,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

# What one program or the way adds, and what changes from second to second.
_OF_THE_WAY = frozenset(
    ("accept", "user-agent", "host", "forwarded", "x-forwarded-for", "date", "connection")
)
_BOUNDARY = re.compile(r"-{24}[0-9A-Za-z]+")


@dataclass
class Done:
    """How a program ended."""

    code: int
    out: bytes
    error: str
    files: dict[str, bytes]

    @property
    def echo(self) -> dict[str, Any]:
        """What /echo saw, without what differs."""
        seen: dict[str, Any] = json.loads(_BOUNDARY.sub("BOUNDARY", self.out.decode()))
        fields = [field.partition(": ") for field in seen["headers"]]
        seen["headers"] = sorted(
            (name.lower(), value) for name, _, value in fields if name.lower() not in _OF_THE_WAY
        )
        return seen

    @property
    def heads(self) -> list[list[str]]:
        """The heads in the output: statuses, and fields."""
        found = []
        for head in self.out.decode().split("\r\n\r\n")[:-1]:
            status, *fields = head.split("\r\n")
            kept = [f"{n.lower()}: {v}" for n, _, v in (line.partition(": ") for line in fields)]
            kept = [line for line in kept if line.partition(":")[0] not in _OF_THE_WAY]
            found.append([status.split(" ")[1], *sorted(kept)])
        return found


@dataclass
class Both:
    """Runs either program, each in a directory of its own."""

    site: str
    proxy: Process
    directory: Path
    monkeypatch: pytest.MonkeyPatch

    def _files(self, name: str) -> Path:
        place = self.directory / name
        place.mkdir(exist_ok=True)
        return place

    def put(self, name: str, content: bytes) -> None:
        """A file that both find."""
        for program in ("curl", "fetch"):
            (self._files(program) / name).write_bytes(content)

    def curl(self, path: str, *arguments: str) -> Done:
        place = self._files("curl")
        done = subprocess.run(
            ["curl", "-q", *arguments, f"{self.site}{path}"],
            capture_output=True,
            cwd=place,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode(), _content(place))

    def fetch(self, path: str, *arguments: str) -> Done:
        place = self._files("fetch")
        self.monkeypatch.chdir(place)
        url = f"peer://{self.proxy.ready['peer_id']}{path}"
        whole = [url, "--signaling", self.proxy.ready["signaling"], *arguments]
        done = CliRunner().invoke(main, ["fetch", *whole])
        return Done(done.exit_code, done.stdout_bytes, done.stderr, _content(place))

    def __call__(self, path: str, *arguments: str) -> tuple[Done, Done]:
        return self.curl(path, "-sS", *arguments), self.fetch(path, *arguments)


def _content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def both(site: str, proxy: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(site, proxy, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-X", "DELETE"],
        ["-H", "X-A: 1", "-H", "X-B: 2"],
        ["-d", "a=b"],
        ["-d", "a=b", "-d", "c=d"],
        ["-d", "a=b", "-d", "@text"],
        ["-d", "a=b", "-X", "PUT", "-H", "Content-Type: a/b"],
        ["--json", '{"a": 1}'],
        ["--json", '{"a":', "--json", "1}"],
        ["--json", "@text", "-H", "Content-Type: application/x-json"],
        ["-T", "text"],
        ["-T", "text", "-X", "POST"],
        ["-u", "user:pass:word"],
        ["-u", "üser:pässword"],
        ["-u", ":"],
        ["-u", "user:secret", "-H", "Authorization: Bearer x"],
        ["-b", "a=b; c=d"],
        ["-b", "a=b", "-H", "Cookie: mine=1"],
        ["-b", "no such file"],
        ["-r", "0-99"],
        ["-r", "-500"],
        ["-r", "100-"],
        ["-r", "5"],
        ["-r", "0-1,5-6"],
        ["-F", "a=b"],
        ["-F", "a=b", "-F", "a=c;type=text/x"],
        ["-F", 'a="semi;colon"'],
        ["-F", 'a="quo\\"te";type=text/plain'],
        ["-F", "a=@text.txt"],
        ["-F", "a=@picture.png;type=image/x-mine;filename=other name.bin"],
        ["-F", 'a=@text;filename="with \\"quotes\\".txt"'],
        ["-F", "a=<text", "-F", "b=@no ending"],
        ["-F", "a=text;type=text/plain; charset=utf-8"],
        ["-F", "ä=ö"],
    ],
    ids=" ".join,
)
def test_the_same_is_asked_as_by_curl(both: Both, arguments: list[str]) -> None:
    for name in ("text", "text.txt", "picture.png", "no ending"):
        both.put(name, b"of a file, without line ends")
    curl, fetch = both("/echo", *arguments)
    assert (curl.code, fetch.code, fetch.error) == (0, 0, "")
    expected = curl.echo
    for field in list(expected["headers"]):
        # What curl waits for before a body, and what it says of forms without a body's length.
        if field[0] == "expect":
            expected["headers"].remove(field)
    assert fetch.echo == expected


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/status/200", []),
        ("/status/404", []),
        ("/status/404", ["-f"]),
        ("/status/500", ["-f", "-s"]),
        ("/status/503", ["-f", "-o", "out"]),
        ("/status/302", ["-f"]),
        ("/file.txt", ["-O"]),
        ("/file.txt?query=1", ["-O"]),
        ("/status/", ["-O"]),
        ("/file.txt", ["-o", "name"]),
        ("/file.txt", ["-r", "0-9"]),
        ("/file.txt", ["-r", "-5", "-o", "out"]),
        ("/file.txt", ["-r", "5000-"]),
        ("/file.txt", ["-r", "5000-", "-f"]),
        ("/moved", ["-L"]),
        ("/moved", []),
        ("/loop", ["-L"]),
        ("/never", ["-m", "0.4"]),
        ("/never", ["--max-time", "0.4", "-o", "out"]),
        ("/never", ["--max-time", "0.4", "-s"]),
        ("/echo", ["-T", "no such file"]),
        ("/echo", ["-F", "a=@no such file"]),
        ("/status/200", ["-o", "no such directory/out"]),
        ("/status/200", ["-d", "a", "-F", "a=b"]),
        ("/status/200", ["-I", "-d", "a"]),
        ("/status/200", ["--no-such-option"]),
        ("/status/200", ["--retry", "x"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_output_files_and_exit_code_are_those_of_curl(
    both: Both, path: str, arguments: list[str]
) -> None:
    curl, fetch = both(path, *arguments)
    assert fetch.code == curl.code, (fetch.error, curl.error)
    assert fetch.out == curl.out
    assert fetch.files == curl.files
    assert "Traceback" not in fetch.error
    if "-s" in arguments:
        assert fetch.error == ""
    elif fetch.code:
        assert fetch.error.startswith("peerfetch: ")


def test_an_answer_that_is_cut_short(both: Both) -> None:
    curl, fetch = both("/cut")
    assert curl.code == fetch.code == 18
    # What had come when the stream was reset may be thrown away (RFC 9000 section 3.2).
    assert curl.out.startswith(fetch.out)
    assert fetch.error.startswith("peerfetch: ")


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/file.txt", ["-I"]),
        ("/status/404", ["-I"]),
        ("/status/404", ["-I", "-f"]),
        ("/status/404", ["-i", "-f"]),
        ("/moved", ["-I"]),
        ("/moved", ["-I", "-L"]),
        ("/moved", ["-i", "-L"]),
        ("/status/200", ["-i"]),
        ("/file.txt", ["-i", "-r", "0-3"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_heads_are_printed_as_by_curl(both: Both, path: str, arguments: list[str]) -> None:
    curl, fetch = both(path, *arguments)
    assert fetch.code == curl.code
    assert fetch.heads == curl.heads
    assert fetch.out.rpartition(b"\r\n\r\n")[2] == curl.out.rpartition(b"\r\n\r\n")[2]


def test_a_head_in_a_file(both: Both) -> None:
    curl, fetch = both("/file.txt", "-I", "-o", "head")
    assert (curl.code, fetch.code, fetch.out) == (0, 0, b"")
    for done in (curl, fetch):
        done.out = done.files["head"]
    assert fetch.heads == curl.heads


@pytest.mark.parametrize(
    ("path", "arguments", "template"),
    [
        ("/status/200", [], "%{http_code} %{response_code}\\n"),
        ("/status/404", [], "%{http_code}|%{size_download}|%{content_type}|%{exitcode}\\n"),
        ("/status/404", ["-f"], "%{http_code}|%{exitcode}\\t%{num_redirects}%{onerror}!\\n"),
        ("/status/200", [], "%{onerror}not shown"),
        ("/file.txt", ["-o", "out"], "%{filename_effective} %{size_download} %% %{method}"),
        ("/file.txt", ["-I"], "%{method}|%{size_download}"),
        ("/moved", [], "%{num_redirects} %{http_code}"),
        ("/moved", ["-L"], "%{num_redirects} %{http_code}"),
        ("/echo", ["-d", "12345", "-o", "/dev/null"], "%{size_upload} %{method}"),
        ("/status/200", [], "%header{x-two}|%header{none}|%header{Content-Type}"),
        ("/status/200", [], "%{nonsense}|%{http_code}|%|100%|\\\\|\\x"),
        ("/status/200", [], "@template"),
        ("/never", ["-m", "0.3"], "%{http_code} %{exitcode}"),
        ("/cut", ["-o", "/dev/null"], "%{exitcode}"),
    ],
)
def test_write_out_tells_what_curl_tells(
    both: Both, path: str, arguments: list[str], template: str
) -> None:
    both.put("template", b"of a file: %{http_code}\n")
    curl, fetch = both(path, *arguments, "-w", template)
    assert fetch.code == curl.code
    if "-I" in arguments:
        curl.out, fetch.out = (out.rpartition(b"\r\n\r\n")[2] for out in (curl.out, fetch.out))
    assert fetch.out == curl.out


def test_write_out_tells_times_in_order_and_both_urls(both: Both) -> None:
    told = "%{time_total} %{time_connect} %{time_starttransfer} %{url} %{url_effective}"
    for done in both("/moved", "-L", "-s", "-o", "/dev/null", "-w", told):
        total, connected, first, url, effective = done.out.decode().split(" ")
        assert all(re.fullmatch(r"\d+\.\d{6}", time) for time in (total, connected, first))
        assert 0 < float(connected) <= float(first) <= float(total)
        assert url.endswith("/moved")
        assert effective.endswith("/status/200")
    curl, fetch = both("/moved", "-o", "/dev/null", "-w", "%{redirect_url}")
    assert curl.out.endswith(b"/status/200")
    assert fetch.out.decode() == f"peer://{both.proxy.ready['peer_id']}/status/200"


def test_all_of_it_as_json(both: Both) -> None:
    curl, fetch = both("/status/404", "-o", "/dev/null", "-w", "%{json}")
    theirs, ours = json.loads(curl.out), json.loads(fetch.out)
    assert ours.keys() <= theirs.keys()
    for name in ("http_code", "size_download", "exitcode", "content_type", "method", "errormsg"):
        assert ours[name] == theirs[name]
    curl, fetch = both("/status/404", "-o", "/dev/null", "-w", "%{header_json}")
    theirs, ours = json.loads(curl.out), json.loads(fetch.out)
    assert ours["x-two"] == theirs["x-two"] == ["a", "b"]


def test_write_out_switches_between_output_and_standard_error(both: Both) -> None:
    for done in both("/status/200", "-w", "%{stderr}%{http_code}%{stdout}!"):
        assert done.out == b"the body!"
        assert done.error == "200"


def test_cookies_are_kept_from_answer_to_answer(both: Both) -> None:
    curl, fetch = both("/login", "-d", "user=me", "-L", "-c", "jar")
    assert _cookies(fetch.echo) == _cookies(curl.echo) == {"id=abc", "kept=1"}
    ours, theirs = (done.files["jar"].decode().splitlines() for done in (fetch, curl))
    kept = [[line.split("\t")[1:4] + line.split("\t")[5:] for line in jar if "\t" in line]
            for jar in (ours, theirs)]  # fmt: skip
    assert sorted(kept[0]) == sorted(kept[1])
    assert {cookie[-2] for cookie in kept[0]} == {"id", "kept", "elsewhere"}
    assert next(line for line in ours if line.startswith("#HttpOnly_")).endswith("\tid\tabc")
    curl, fetch = both("/echo", "-b", "jar")
    assert _cookies(fetch.echo) == _cookies(curl.echo) == {"id=abc", "kept=1"}
    curl, fetch = both("/echo", "-b", "jar", "-H", "Cookie: mine=1")
    assert _cookies(fetch.echo) == _cookies(curl.echo) == {"id=abc", "kept=1", "mine=1"}
    assert all(b"elsewhere" in done.out for done in both("/status/200", "-b", "jar", "-c", "-"))


def _cookies(echo: dict[str, Any]) -> set[str]:
    return {
        pair for name, value in echo["headers"] if name == "cookie" for pair in value.split("; ")
    }


def test_a_failure_is_tried_again_as_by_curl(both: Both) -> None:
    """A second attempt after one second, or when the server says; with -f nothing of the first."""
    for arguments in (["-f"], ["-o", "out"], []):
        key = "".join(arguments)
        curl = both.curl(f"/not-yet/curl{key}", "-sS", "--retry", "2", *arguments)
        fetch = both.fetch(f"/not-yet/fetch{key}", "--retry", "2", *arguments)
        assert (fetch.code, fetch.out, fetch.files) == (curl.code, curl.out, curl.files)
        assert "trying again in 1 s (2 left)" in fetch.error
    for done in both("/status/404", "--retry", "2", "-f"):
        assert done.code == 22
        assert "again" not in done.error
    curl = both.curl("/not-yet/c?after=60", "-sS", "--retry", "1", "--retry-max-time", "5", "-f")
    fetch = both.fetch("/not-yet/f?after=60", "--retry", "1", "--retry-max-time", "5", "-f")
    assert fetch.code == curl.code == 22


def test_a_file_that_is_whole_already(both: Both) -> None:
    for name in ("one", "two"):
        curl, fetch = both("/file.txt", "-C", "-", "-o", name)
        assert curl.code == fetch.code == 0
    before = (both.directory / "fetch" / "two").stat()
    curl, fetch = both("/file.txt", "-C", "-", "-o", "two")
    assert (curl.code, fetch.code) == (0, 0)
    assert fetch.files == curl.files
    assert "whole already" in fetch.error
    assert (both.directory / "fetch" / "two").stat() == before


def test_what_is_sent_and_answered_is_shown(both: Both) -> None:
    curl, fetch = both("/status/404", "-v", "-H", "X-A: 1")
    assert (curl.code, fetch.code, fetch.out) == (0, 0, curl.out)
    for begin in ("> GET /status/404 HTTP/", "> X-A: 1", "< HTTP/", "< X-Two: a"):
        for error in (curl.error, fetch.error):
            assert any(line.lower().startswith(begin.lower()) for line in error.splitlines())


def test_errors_are_silenced_as_by_curl(both: Both) -> None:
    for arguments, words in ((["-s"], 0), (["-s", "-S"], 1), (["-sS"], 1)):
        curl, fetch = both.curl("/cut", *arguments), both.fetch("/cut", *arguments)
        assert fetch.code == curl.code == 18
        assert [len(done.error.splitlines()) for done in (curl, fetch)] == [words] * 2
