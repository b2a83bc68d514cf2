"""The benchmarks run and report, each as briefly as it can; what they find is not judged here."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast.webrtc._seam.peer import HAVE_NATIVE

ROOT = Path(__file__).parents[2]


def results(tmp_path: Path, module: str, *options: str) -> list[dict[str, Any]]:
    file = tmp_path / "report.json"
    done = subprocess.run(
        (sys.executable, "-m", module, "--json", str(file), *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["environment"]["cores"] >= 1
    return list(report["results"])


@pytest.mark.skipif(importlib.util.find_spec("pyperf") is None, reason="pyperf is not installed")
def test_framing(tmp_path: Path) -> None:
    bulk, messages = results(tmp_path, "bench.framing", "--debug-single-value")
    assert bulk["mb_per_s"] > 0
    assert messages["messages_per_s"] > 0


def test_session(tmp_path: Path) -> None:
    rows = results(tmp_path, "bench.session", "--runs", "1", "--seconds", "0.05")
    assert {(row["measured"], row["stack"], row["in_flight"]) for row in rows} == {
        ("bulk", "peerfetch", 1),
        *(("small GETs", stack, n) for stack in ("peerfetch", "aiohttp") for n in (1, 256)),
    }


def test_throughput(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--stacks", "aiortc")
    rows = results(tmp_path, "bench.throughput", *brief)
    assert [row["message_bytes"] for row in rows] == [16_384, 65_536]
    assert all(row["mb_per_s"] > 0 and row["cpu_us_per_packet_send"] > 0 for row in rows)


def test_latency(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--stacks", "aiortc")
    (row,) = results(tmp_path, "bench.latency", *brief)
    assert 0 < row["p50_us"] <= row["p99_us"]


@pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="nginx is not installed",
)
@pytest.mark.skipif(not HAVE_NATIVE, reason="built without the native data path")
def test_end_to_end(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.2", "--size", "1M", "--large", "65M", "--stall", "0.2")
    rows = results(tmp_path, "bench.end_to_end", *brief)
    assert [row["measured"] for row in rows] == [
        "rate",
        *["small GET"] * 2,
        *["memory"] * 3,
    ]
    assert rows[0]["of_raw"] > 0
    assert rows[-1]["proxy_mb"] > 0


def test_a_stack_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = subprocess.run(
        (sys.executable, "-m", "bench.latency", "--json", str(file), "--stacks", "werift"),
        cwd=ROOT,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "werift could not be measured" in done.stderr
    assert "werift" in json.loads(file.read_text())["settings"]["failures"]
