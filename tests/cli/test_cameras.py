"""``peerfetch proxy --camera``."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from processes import environment, free_port, peerfetch, posix_only

pytestmark = posix_only


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--camera", "/cam=http://10.0.0.9/"], "is no camera: write rtsp://"),
        (["--camera", "/cam=test:?width=1"], "160x120"),
        (["--microphone", "/cam=alsa:default"], "there is no camera at /cam"),
        (["--speaker", "/cam=alsa:default"], "there is no camera at /cam"),
        (["--camera", "test:", "--speaker", "pulse"], "is no speaker"),
        (["--camera", "test:", "--microphone", "pulse"], "is no microphone"),
        (["--camera", "/a=test:", "--camera", "/a=test:"], "two targets"),
    ],
)
def test_wrong_usage_says_what_is_right(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["proxy", *arguments, "--state-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_picture_of_a_camera(tmp_path: Path) -> None:
    camera = "/cam=test:?width=160&height=120&rate=5"
    other = "/other=rtsp://admin:secret@127.0.0.1:1/"
    arguments = ("--camera", camera, "--camera", other, "--listen", "127.0.0.1:0")
    door = f"127.0.0.1:{free_port()}"
    with peerfetch(tmp_path, "proxy", *arguments, "--whep", door) as proxy:
        assert f"whep         http://{door}/cam/whep" in proxy.output
        with urllib.request.urlopen(f"http://{door}/cam/info", timeout=30) as answer:
            assert json.load(answer)["webrtc"] in (True, False)
        url = f"peer://{proxy.ready['peer_id']}/cam/snapshot.jpg"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "peerfetch_fast", "fetch", url),
                *("--signaling", proxy.ready["signaling"]),
            ],
            capture_output=True,
            timeout=60,
            check=True,
            env=environment(tmp_path),
        )
        assert done.stdout.startswith(b"\xff\xd8")
        assert "target       / = " not in proxy.output
        assert "target       all cameras" in proxy.output
        assert "target       /other = rtsp://…@127.0.0.1:1/" in proxy.output
        assert "secret" not in proxy.output
