from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from peerfetch_fast.cli import main
from peerfetch_fast.cli import service as _module  # noqa: F401 - imported before it is patched
from peerfetch_fast.cli.service import unit

MODULE = sys.modules["peerfetch_fast.cli.service"]
PROGRAMS = ("proxy", "forward", "signal", "rendezvous")

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["service", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@analyze
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_unit_that_systemd_has_nothing_against(tmp_path: Path, program: str) -> None:
    path = tmp_path / f"peerfetch-{program}.service"
    path.write_text(printed(program))
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@analyze
def test_what_the_unit_can_do_is_little(tmp_path: Path) -> None:
    path = tmp_path / "peerfetch-proxy.service"
    path.write_text(printed())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_it_says_what_is_to_run() -> None:
    text = unit("proxy", ["/opt/peer fetch/bin/peerfetch"], Path("/etc/100%/peerfetch.toml"))
    assert (
        "ExecStart='/opt/peer fetch/bin/peerfetch' --config /etc/100%%/peerfetch.toml proxy\n"
        in text
    )
    assert "Type=notify\n" in text
    assert "StateDirectory=peerfetch-proxy\n" in text
    assert "Environment=PEERFETCH_STATE_DIR=%S/peerfetch-proxy\n" in text
    assert not re.search(r"@[A-Z]+@", text)


def test_a_rendezvous_server_may_have_the_ports_of_the_web() -> None:
    text = printed("rendezvous")
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in text
    assert "PrivateUsers=no\n" in text  # in a namespace of its own they would not be root's
    assert "--config /etc/peerfetch/rendezvous.toml rendezvous\n" in text
    assert "AmbientCapabilities=\n" in printed("proxy")


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")
def test_a_rendezvous_server_has_a_file_of_its_own_to_begin_from(machine: Path) -> None:
    config = machine / "rendezvous.toml"
    code, output = install(config, "rendezvous")
    assert code == 0, output
    assert 'domain = "meet.example.org"' in config.read_text()


def test_each_program_has_a_unit_and_a_state_of_its_own() -> None:
    texts = [unit(program, ["p"], Path("/c")) for program in PROGRAMS]
    directories = {re.search(r"^StateDirectory=(.*)$", text, re.M)[1] for text in texts}  # type: ignore[index]
    assert len(directories) == len(PROGRAMS)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of /etc, and a systemctl that writes down how it was called."""
    etc = tmp_path / "etc"
    etc.mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    systemctl.chmod(0o755)
    monkeypatch.setattr(MODULE, "UNITS", etc)
    monkeypatch.setattr(MODULE, "HOMES", ("/home/nobody-is-here",))
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return tmp_path


def install(config: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["service", "--install", "--config", str(config), *arguments])
    return result.exit_code, result.output


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")
def test_it_is_installed_and_started(machine: Path) -> None:
    config = machine / "conf" / "peerfetch.toml"
    code, output = install(config)
    assert code == 0, output
    assert (machine / "etc" / "peerfetch-proxy.service").read_text() == printed(
        "--config", str(config)
    )
    assert (machine / "called").read_text().splitlines() == [
        "daemon-reload",
        "enable peerfetch-proxy.service",
        "restart --no-block peerfetch-proxy.service",
    ]
    # The service reads it under a user of its own.
    assert stat.S_IMODE(config.stat().st_mode) & 0o044
    assert "journalctl" in output


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")
def test_a_configuration_that_is_there_is_kept_and_checked(machine: Path) -> None:
    config = machine / "peerfetch.toml"
    config.write_text("[signal]\nport = 9000\n")
    code, output = install(config, "signal")
    assert code == 2
    assert "line 2: port: peerfetch signal has no option --port" in output
    assert not (machine / "etc" / "peerfetch-signal.service").exists()
    config.write_text("[signal]\nlisten = '0.0.0.0:9000'\n")
    code, output = install(config, "signal")
    assert code == 0, output
    assert config.read_text() == "[signal]\nlisten = '0.0.0.0:9000'\n"


def test_what_services_do_not_see_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "HOMES", (str(tmp_path),))
    code, output = install(tmp_path / "peerfetch.toml")
    assert code == 1
    assert "services do not see" in output
    result = CliRunner().invoke(main, ["service", "--config", str(tmp_path / "peerfetch.toml")])
    assert "services do not see" in result.stderr
    assert result.stdout.startswith("# Printed by")


def test_what_a_service_sees_is_looked_at_by_whole_names_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "HOMES", (str(tmp_path / "home"),))
    for name in ("home", "homestead"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        result = CliRunner().invoke(main, ["service", "--config", "peerfetch.toml"])
        assert ("services do not see" in result.stderr) == (name == "home"), result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")
def test_without_systemd_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "HOMES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    code, output = install(tmp_path / "peerfetch.toml")
    assert code == 1
    assert "there is no systemd here" in output
