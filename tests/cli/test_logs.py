from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from peerfetch_fast.cli.logs import _JsonFormatter
from processes import environment, peerfetch, posix_only

NOBODY = "ws://127.0.0.1:9"


@pytest.fixture
def record() -> logging.LogRecord:
    try:
        raise ValueError("a reason\nof two lines")
    except ValueError:
        exception = sys.exc_info()
    says = ("it says %s", ("two\nlines",))
    return logging.LogRecord("some.logger", logging.ERROR, "", 0, *says, exception)


def test_a_record_is_one_line(record: logging.LogRecord) -> None:
    line = _JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "it says two\nlines"
    assert (told["level"], told["logger"]) == ("error", "some.logger")
    assert "of two lines" in told["traceback"]
    assert datetime.fromisoformat(told["time"]).timestamp() == pytest.approx(
        record.created, abs=0.001
    )


def test_all_that_is_told_is_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "peerfetch_fast", "proxy", "--log-format", "json"),
            *("--serve", str(tmp_path), "--signaling", NOBODY, "--wait", "0"),
            *("--access-token", "short", "--log-level", "debug"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(tmp_path),
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    ours = [line for line in lines if line["logger"] == "peerfetch"]
    assert [line["level"] for line in ours] == ["warning", "error"]
    assert ours[0]["message"].startswith("the access token is short")
    assert "cannot be reached" in ours[1]["message"]
    assert done.returncode == 6


@posix_only
def test_text_stays_text(tmp_path: Path) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", "--log-level", "info") as server:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "{" not in server.output
