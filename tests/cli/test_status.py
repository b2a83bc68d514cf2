"""``peerfetch status`` beside a running proxy and a forward."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from processes import environment, peerfetch, posix_only, start_proxy

pytestmark = posix_only


def ask(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peerfetch_fast", "status", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(directory),
    )


def test_where_nothing_runs_that_is_said_with_exit_code_1(tmp_path: Path) -> None:
    done = ask(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No proxy or forward is running." in done.stderr
    assert ask(tmp_path, "--json").stdout == "[]\n"


def test_a_proxy_and_a_forward(tmp_path: Path, site: str) -> None:
    with (
        start_proxy(tmp_path, site, "auto") as proxy,
        peerfetch(
            tmp_path,
            *("forward", proxy.ready["peer_id"], "--port", "0"),
            *("--signaling", proxy.ready["signaling"]),
        ) as forward,
    ):
        url = forward.ready["url"]
        with urllib.request.urlopen(f"{url}/status/200") as answer:
            assert answer.read() == b"the body"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}))
        programs = {told["program"]: told for told in json.loads(ask(tmp_path, "--json").stdout)}
        assert {name: told["pid"] for name, told in programs.items()} == {
            "proxy": proxy.pid,
            "forward": forward.pid,
        }
        for told in programs.values():
            [peer] = told["peers"]
            assert (peer["way"], peer["state"]) == ("direct", "connected")
            assert (peer["why"], peer["relay"]) == (None, None)
            assert peer["sent"] > 0
            assert peer["received"] > 0
        assert programs["forward"]["peers"][0]["id"] == proxy.ready["peer_id"]
        assert programs["forward"]["refused"] == {"a name or page that is not allowed": 1}
        done = ask(tmp_path)
        assert done.returncode == 0
        for words in ("proxy ", "forward ", "direct", " in, ", "refused: a name or page"):
            assert words in done.stdout
    assert ask(tmp_path, "--json").stdout == "[]\n"


def test_a_proxy_that_was_killed(tmp_path: Path, site: str) -> None:
    with start_proxy(tmp_path, site, "auto") as proxy:
        proxy.kill()
    assert list((tmp_path / "state" / "status").iterdir())
    assert ask(tmp_path, "--json").stdout == "[]\n"
    assert not list((tmp_path / "state" / "status").iterdir())


def test_watching_shows_it_again_and_again(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "peerfetch_fast", "status", "--json", "--watch", "0.1"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
    ) as watching:
        assert watching.stdout is not None
        try:
            began = time.monotonic()
            assert [watching.stdout.readline() for _ in range(3)] == ["[]\n"] * 3
            assert time.monotonic() - began >= 0.2
        finally:
            watching.kill()
