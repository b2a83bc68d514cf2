"""What is released, and where: the configuration of it. What it comes to is tried by .ci/wheel."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from peerfetch_fast._version import __version__
from processes import posix_only

ROOT = Path(__file__).parent.parent
PYTHONS = ("cp311", "cp312", "cp313", "cp314")
PLATFORMS = {
    "linux": (
        *("manylinux_x86_64", "manylinux_aarch64", "manylinux_armv7l"),
        *("musllinux_x86_64", "musllinux_aarch64"),
    ),
    "macos": ("macosx_arm64", "macosx_x86_64"),
    "windows": ("win_amd64",),
}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_wheels_are_built_for_every_python_and_platform(platform: str) -> None:
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "cibuildwheel", "--platform", platform),
            *("--print-build-identifiers", ROOT),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert set(printed.split()) == {
        f"{python}-{where}" for python in PYTHONS for where in PLATFORMS[platform]
    }


def test_the_workflow_builds_on_every_platform_and_architecture_that_is_configured() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text())
    matrix = workflow["jobs"]["wheels"]["strategy"]["matrix"]["include"]
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    assert sorted((row["platform"], row["arch"]) for row in matrix) == sorted(
        (platform, arch) for platform in PLATFORMS for arch in configured[platform]["archs"]
    )


def test_the_pythons_that_are_promised_are_those_that_are_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = [
        text.rpartition(":: ")[2].replace("3.", "cp3")
        for text in project["classifiers"]
        if ":: Python :: 3." in text
    ]
    assert promised == list(PYTHONS)


def test_only_the_jobs_that_publish_may_speak_for_the_repository() -> None:
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert release["permissions"] == {"contents": "read"}
    trusted = {
        name
        for name, job in release["jobs"].items()
        if job.get("permissions", {}).get("id-token") == "write"
    }
    assert trusted == {"provenance", "pypi", "npm"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()


def test_the_npm_package_has_the_version_of_the_python_package() -> None:
    package = json.loads((ROOT / "src/peerfetch_fast/web/package.json").read_text())
    assert package["version"] == __version__


def test_a_release_says_where_its_repository_is(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "GITHUB_REPOSITORY": "somebody/something"},
        check=True,
        capture_output=True,
    )
    told = email.message_from_bytes((tmp_path / "peerfetch_fast.egg-info/PKG-INFO").read_bytes())
    urls = dict(url.split(", ") for url in told.get_all("Project-URL", []))
    assert urls["Source"] == "https://github.com/somebody/something"
    assert {"Documentation", "Changes", "Issues"} <= urls.keys()


@posix_only
def test_it_is_not_built_where_it_was_never_run() -> None:
    """As a compiler for s390x presents itself."""
    big = "-U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        env={**os.environ, "CFLAGS": big},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("peerfetch-fast: not built for big-endian processors")
