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
from tests.interop.browsers import needs_chromium

from peerfetch_fast.webrtc import HAVE_NATIVE

ROOT = Path(__file__).parents[2]

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="nginx is not installed",
)
needs_native = pytest.mark.skipif(not HAVE_NATIVE, reason="built without the native data path")


def results(tmp_path: Path, module: str, *options: str) -> list[dict[str, Any]]:
    file = tmp_path / "report.json"
    done = subprocess.run(
        (sys.executable, "-m", module, "--json", str(file), *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["environment"]["cores"] >= 1
    return list(report["results"])


@pytest.mark.skipif(importlib.util.find_spec("pyperf") is None, reason="pyperf is not installed")
def test_framing_gives_bytes_and_messages_a_second(tmp_path: Path) -> None:
    bulk, messages = results(tmp_path, "bench.framing", "--debug-single-value")
    assert bulk["mb_per_s"] > 0
    assert messages["messages_per_s"] > 0


def test_ice_gives_the_time_of_a_message(tmp_path: Path) -> None:
    (row,) = results(tmp_path, "bench.ice", "--runs", "1")
    assert row["us_per_message"] > 0


def test_people_gives_what_they_hold_and_how_soon_one_is_found(tmp_path: Path) -> None:
    rows = results(tmp_path, "bench.people", "--runs", "1")
    assert [(row["people"], row["limited"]) for row in rows] == [
        *((100, limited) for limited in (False, True)),
        *((10_000, limited) for limited in (False, True)),
    ]
    assert all(row["mb"] < 2 and row["ns_known"] > 0 for row in rows)


@needs_native
def test_connect_gives_round_trips_of_each_stack(tmp_path: Path) -> None:
    rows = results(tmp_path, "bench.connect", "--runs", "1", "--delays", "5", "--stacks", "aiortc")
    assert {(row["stack"], row["offers"], row["routed"]) for row in rows} == {
        ("peerfetch", "SNAP and SPED", False),
        ("peerfetch", "SNAP and SPED", True),
        ("peerfetch", "SNAP", False),
        ("peerfetch", "neither", False),
        ("aiortc", None, False),
    }
    assert all(row["round_trips"] > 1 for row in rows)


def test_session_gives_bulk_and_small_gets_of_each_stack(tmp_path: Path) -> None:
    rows = results(tmp_path, "bench.session", "--runs", "1", "--seconds", "0.05")
    assert {(row["measured"], row["stack"], row["in_flight"]) for row in rows} == {
        ("bulk", "peerfetch", 1),
        *(("small GETs", stack, n) for stack in ("peerfetch", "aiohttp") for n in (1, 256)),
    }


def test_throughput_gives_a_rate_and_cpu_time_for_each_size_of_message(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--stacks", "aiortc")
    rows = results(tmp_path, "bench.throughput", *brief)
    assert [row["message_bytes"] for row in rows] == [16_384, 65_536]
    assert all(row["mb_per_s"] > 0 and row["cpu_us_per_packet_send"] > 0 for row in rows)


def test_latency_gives_percentiles_in_order(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--stacks", "aiortc")
    (row,) = results(tmp_path, "bench.latency", *brief)
    assert 0 < row["p50_us"] <= row["p99_us"]


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("make") is None,
    reason="the link is a program for Linux, made by make",
)
@pytest.mark.skipif(not HAVE_NATIVE, reason="built without the native data path")
class TestLinks:
    def test_links_gives_goodput_and_delay_of_each_controller(self, tmp_path: Path) -> None:
        brief = ("--runs", "1", "--seconds", "0.3", "--stacks", "native,aiortc", "--links", "4")
        what = ("--measure", "bulk,start", "--congestion", "cubic,bbr")
        rows = results(tmp_path, "bench.links", *brief, *what)
        assert [(row["measured"], row["stack"], row["congestion"]) for row in rows] == [
            ("bulk", "native", "cubic"),
            ("bulk", "native", "bbr"),
            ("bulk", "aiortc", None),
            ("start", "native", "cubic"),
            ("start", "native", "bbr"),
        ]
        for row in rows[:3]:
            assert (row["rate_mbit"], row["delay_ms"], row["queue_ms"]) == (50, 5, 50)
            assert 0 < row["goodput_mbit"] <= 50 * 0.925
            assert row["round_trip_p95_ms"] >= 10  # how much more depends on this machine
        assert rows[-1]["times_ideal"] > 0.9

    def test_links_gives_the_time_of_an_urgent_get(self, tmp_path: Path) -> None:
        brief = ("--runs", "1", "--seconds", "1", "--stacks", "native", "--links", "2")
        what = ("--measure", "urgent", "--congestion", "bbr")
        (row,) = results(tmp_path, "bench.links", *brief, *what)
        assert row["idle_p50_ms"] >= 50
        assert row["p95_ms"] >= row["p50_ms"] >= 50

    @needs_chromium
    def test_media_links_gives_what_is_seen_of_a_camera(self, tmp_path: Path) -> None:
        brief = ("--runs", "1", "--seconds", "2", "--links", "2")
        rows = results(tmp_path, "bench.media_links", *brief)
        assert [(row["link"], row["way"]) for row in rows] == [("2", "rtp"), ("2", "frames")]
        assert all(row["shown"] > 0 and row["frozen_s_per_minute"] >= 0 for row in rows)

    def test_links_writes_a_plot(self, tmp_path: Path) -> None:
        file = tmp_path / "plot.svg"
        subprocess.run(
            (
                *(sys.executable, "-m", "bench.links", "--plot", str(file)),
                *("--seconds", "0.5", "--congestion", "bbr"),
            ),
            cwd=ROOT,
            check=True,
            timeout=600,
        )
        assert file.read_text().startswith("<svg")


@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_media_gives_cpu_time_and_memory_of_each_device(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.5", "--viewers", "1,2")
    rows = results(tmp_path, "bench.media", *brief, "--stacks", "peerfetch,aiortc")
    assert [(row["stack"], row["viewers"]) for row in rows] == [
        (stack, viewers) for viewers in (1, 2) for stack in ("peerfetch", "aiortc")
    ]
    assert all(row["us_per_packet"] > 0 and row["packets_per_second"] > 0 for row in rows)


@needs_native
def test_media_download_gives_rates_and_late_pictures(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--links", "none", "--size", "20")
    rows = results(tmp_path, "bench.media_download", *brief)
    assert [row["way"] for row in rows] == ["alone", "frames", "rtp"]
    assert all(row["of_alone"] > 0 for row in rows)
    assert all(0 <= row["late_beside"] <= 1 for row in rows[1:])


@needs_native
def test_media_sync_hears_each_second_beside_its_picture(tmp_path: Path) -> None:
    (row,) = results(tmp_path, "bench.media_sync", "--minutes", "0.1")
    assert row["beeps"] >= 2
    assert abs(row["late_ms"]) < 250  # of a machine that is busy; else some 10


@needs_nginx
@needs_native
def test_end_to_end_gives_what_share_of_the_raw_rate_each_source_has(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.2", "--size", "1M")
    rows = results(tmp_path, "bench.end_to_end", *brief)
    assert [row["source"] for row in rows] == ["nginx", "--serve"]
    assert all(row["of_raw"] > 0 for row in rows)


@needs_nginx
@needs_native
def test_load_gives_gets_requests_and_memory(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--sizes", "16M", "--stall", "0.1")
    rows = results(tmp_path, "bench.load", *brief)
    assert [row["measured"] for row in rows] == [
        *["small GET"] * 3,
        *["requests"] * 3,
        *["memory"] * 2,
    ]
    assert [row["in_flight"] for row in rows[3:6]] == [1, 16, 256]
    assert all(row["per_s"] > 0 and row["aiohttp_per_s"] > 0 for row in rows[3:6])
    assert all(row["proxy_mb"] > 0 for row in rows[6:])


@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory and CPU from /proc")
def test_hostile_gives_times_and_memory_with_and_without_an_attack(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.2", "--targets", "proxy", "--attacks", "quiet")
    rows = results(tmp_path, "bench.hostile", *brief)
    assert [(row["target"], row["attack"]) for row in rows] == [
        ("proxy", "none"),
        ("proxy", "quiet"),
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["memory_mb_most"] >= row["memory_mb_before"] > 0


@needs_nginx
@needs_native
@needs_chromium
def test_browser_gives_rates_and_cpu_time_of_each_sender(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--seconds", "0.1", "--size", "1M", "--senders", "native")
    rows = results(tmp_path, "bench.browser", *brief)
    assert [(row["measured"], row["sender"]) for row in rows] == [
        ("proxy", "native"),
        ("proxy", "aiortc"),
        ("channel", "native"),
    ]
    assert all(row["mb_per_s"] > 0 for row in rows)
    # A megabyte may cost less than the 10 ms in which the kernel counts.
    assert all(row["cpu_ms_per_mb"] >= 0 for row in rows)


def test_a_stack_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = subprocess.run(
        (sys.executable, "-m", "bench.latency", "--json", str(file), "--stacks", "werift"),
        cwd=ROOT,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "werift could not be measured" in done.stderr
    assert "werift" in json.loads(file.read_text())["settings"]["failures"]


@needs_nginx
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_forward_gives_requests_a_second_beside_nginx(tmp_path: Path) -> None:
    rows = results(tmp_path, "bench.forward", "--runs", "1", "--seconds", "1")
    assert [row["connections"] for row in rows] == [1, 16, 256]
    assert all(row["forward_per_s"] > 0 and row["nginx_per_s"] > 0 for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_startup_gives_cpu_time_and_memory_of_each_program(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--proxies", "1", "--sessions", "3", "--seconds", "0.2")
    rows = {row["what"]: row for row in results(tmp_path, "bench.startup", *brief)}
    for what in ("python -c pass", "peerfetch --help", "peerfetch fetch"):
        assert rows[what]["cpu_s"] > 0
        assert rows[what]["peak_mb"] > 1
    assert rows["peerfetch --help"]["target_times_python"] == 5
    assert rows["server embedded"]["mb"] > rows["server elsewhere"]["mb"] > 1
    assert {"kb_each", "percent_of_a_core"} < set().union(rows["memory"], rows["CPU"])


@needs_native
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("turnserver") is None,
    reason="needs Linux, root and coturn",
)
def test_moving_gives_the_seconds_of_a_move(tmp_path: Path) -> None:
    brief = ("--runs", "1", "--size", "20M", "--moves", "client")
    (row,) = results(tmp_path, "bench.moving", *brief)
    assert row["move"] == "client"
    assert row["seconds"] > 0


PEERJS = ROOT / "tests/interop/node_modules/peerjs/dist/peerjs.min.js"


@needs_chromium
@pytest.mark.skipif(not PEERJS.exists(), reason="npm ci was not run in tests/interop")
def test_share_gives_what_each_way_takes_at_both_ends(tmp_path: Path) -> None:
    options = ("--runs", "1", "--kinds", "one file", "--size", "1M", "--receivers", "2")
    found = results(tmp_path, "bench.share", *options, "--peerjs", str(PEERJS))
    rows = {row["way"]: row for row in found}
    assert {"peerfetch", "to many", "peerjs"} <= rows.keys()
    for row in rows.values():
        for figure in ("mb_per_s", "sender_cpu_s", "receiver_cpu_s"):
            assert row[figure] > 0
        assert row["sender_peak_mb"] > 1
