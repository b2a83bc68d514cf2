"""The tests of the browser client that need no browser, in node's test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_all_javascript_tests_pass_in_node() -> None:
    files = sorted(map(str, Path(__file__).parent.rglob("*.test.js")))
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *files],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
