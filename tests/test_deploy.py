"""The compose file: its own commands, run here side by side as it would run them in containers."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from processes import (
    accepts,
    environment,
    fetch,
    free_port,
    peerfetch,
    posix_only,
    running,
)

DEPLOY = Path(__file__).parents[1] / "deploy"
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]

pytestmark = posix_only


def command(service: str, replaced: dict[str, str]) -> list[str]:
    """What a service runs, with what differs here."""
    words = list(SERVICES[service]["command"])
    for old, new in replaced.items():
        words = [word.replace(old, new) for word in words]
    assert not any("$" in word for word in words), words
    return words


def test_the_services_meet(tmp_path: Path) -> None:
    app, turn = free_port(), free_port()
    serving = command("app", {"8778": str(app), "/srv": str(DEPLOY / "site")})
    with (
        running(sys.executable, *serving[1:], log=tmp_path / "app", ready=lambda: accepts(app)),
        peerfetch(tmp_path, *command("signaling", {"0.0.0.0:9000": "127.0.0.1:0"})) as signaling,
    ):
        where = signaling.ready["signaling"].rpartition(":")[2]
        replaced = {
            "http://app:8778": f"http://127.0.0.1:{app}",
            ":9000": f":{where}",
            ":3478": f":{turn}",
            "${PUBLIC_HOST:?the name or address of this machine}": "127.0.0.1",
            "${PUBLIC_HOST}": "127.0.0.1",
            "${TURN_PASSWORD}": "secret",
        }
        with peerfetch(tmp_path, *command("device", replaced)) as device:
            url = f"peer://{device.ready['peer_id']}/"
            found = fetch(tmp_path, url, "--signaling", signaling.ready["signaling"])
            assert b"This page came from the app" in found.stdout, found.stderr


@pytest.mark.skipif(shutil.which("turnserver") is None, reason="there is no coturn")
def test_coturn_takes_its_options(tmp_path: Path) -> None:
    port = free_port()
    words = command("turn", {"${TURN_PASSWORD:?choose a password}": "secret"})
    more = (
        f"--listening-port={port}",
        "--listening-ip=127.0.0.1",
        "--pidfile=",
        "--userdb=/dev/null",
    )
    program = running(
        *("turnserver", *words, *more),
        log=tmp_path / "log",
        ready=lambda: accepts(port),
        env=environment(tmp_path),
    )
    with program as turn:
        assert not re.search(r"(?i)bad (config|option)|unrecognized|unknown", turn.output)


def test_what_the_device_says_of_the_turn_server_is_what_that_is_told() -> None:
    [login] = [word for word in SERVICES["turn"]["command"] if word.startswith("--user=")]
    server = SERVICES["device"]["command"][SERVICES["device"]["command"].index("--ice-server") + 1]
    user, password = server.split(",")[1:]
    assert login.startswith(f"--user={user}:{password.rstrip('}')}")


def test_containers_of_ours_can_do_little() -> None:
    for name in ("signaling", "device", "app"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_what_the_container_file_copies_is_there() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for names in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.M):
        for name in names.split():
            assert (DEPLOY.parent / name).exists(), name
