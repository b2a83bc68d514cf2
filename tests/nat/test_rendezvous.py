"""A rendezvous server between a device behind a router and a phone that may speak HTTPS alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.nat.network import SERVER, Network
from tests.nat.scene import ours
from tests.nat.test_nat import ways

from certificates import self_signed
from processes import Process, environment, require_transport

SIZE = 2 << 20


@contextlib.contextmanager
def server(homes: Network, directory: Path, files: tuple[Path, Path]) -> Iterator[Process]:
    certificate, key = files
    with ours(
        *(homes, "server", directory, "peerfetch_fast", "rendezvous", "--domain", SERVER),
        *("--listen", f"{SERVER}:443", "--tls-certificate", certificate, "--tls-key", key),
    ) as process:
        yield process


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    made = self_signed(tmp_path, SERVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(made[0]))
        patch.setenv("PEERFETCH_RENDEZVOUS", SERVER)
        yield made


@contextlib.contextmanager
def device(homes: Network, directory: Path) -> Iterator[Process]:
    directory.mkdir()
    web = ours(homes, "device", directory, "peerfetch_fast.cli.demo_server", "--size", SIZE)
    with (
        web as upstream,
        ours(
            *(homes, "device", directory, "peerfetch_fast.proxy"),
            *("--target", upstream.ready["url"], "--log-level", "info"),
        ) as proxy,
    ):
        yield proxy


def fetch(homes: Network, proxy: Process, directory: Path, path: str) -> tuple[bytes, str]:
    """What the phone gets, and its log."""
    url = f"peer://{proxy.ready['peer_id']}{path}"
    done = subprocess.run(
        [
            *(*homes.inside("phone"), sys.executable, "-m", "peerfetch_fast", "fetch", url),
            *("--fail", "--log-level", "info"),
        ],
        capture_output=True,
        timeout=120,
        env=environment(directory),
    )
    assert done.returncode == 0, f"{done.stderr.decode()}\n{proxy.output}"
    return done.stdout, done.stderr.decode()


def close_all_but_https(homes: Network) -> None:
    """As in a guest network: the phone's router lets nothing else through."""
    homes.translate("another port for each")
    rules = "\n".join(
        f"insert rule ip home through iifname lan {rule} drop"
        for rule in ("meta l4proto udp", "tcp dport != 443")
    )
    subprocess.run([*homes.inside("router2"), "nft", "-f", "-"], input=rules.encode(), check=True)


def test_a_phone_whose_network_lets_https_alone_through_gets_the_file_whole(
    homes: Network, files: tuple[Path, Path], tmp_path: Path
) -> None:
    require_transport("native")
    close_all_but_https(homes)
    with server(homes, tmp_path, files), device(homes, tmp_path / "device") as proxy:
        about = json.loads(fetch(homes, proxy, tmp_path, "/api/media")[0])
        media, log = fetch(homes, proxy, tmp_path, "/media")
        assert len(media) == about["size"] == SIZE
        assert hashlib.sha256(media).hexdigest() == about["sha256"]
        ((ours_is, _, _),) = ways(log)
        assert ours_is == "relay"


def told(homes: Network, place: str, directory: Path) -> dict[str, Any]:
    """What `peerfetch status` says of the one peer there."""
    status = (*homes.inside(place), sys.executable, "-m", "peerfetch_fast", "status", "--json")
    done = subprocess.run(status, capture_output=True, check=True, env=environment(directory))
    ((peer,),) = [program["peers"] for program in json.loads(done.stdout)]
    assert isinstance(peer, dict)
    return peer


def test_status_says_through_which_relay_and_why_not_directly(
    homes: Network, files: tuple[Path, Path], tmp_path: Path
) -> None:
    require_transport("native")
    close_all_but_https(homes)
    (tmp_path / "phone").mkdir()
    with (
        server(homes, tmp_path, files),
        device(homes, tmp_path / "device") as proxy,
        ours(
            *(
                homes,
                "phone",
                tmp_path / "phone",
                "peerfetch_fast",
                "forward",
                proxy.ready["peer_id"],
            ),
            *("--port", "0"),
        ),
    ):
        of_phone = told(homes, "phone", tmp_path / "phone")
        assert of_phone["way"] == "relayed"
        assert of_phone["relay"] == f"turns:{SERVER}:443"
        assert "UDP may be blocked here" in of_phone["why"]
        of_device = told(homes, "device", tmp_path / "device")
        assert of_device["way"] == "relayed"
        assert "UDP may be blocked there" in of_device["why"]


def test_a_server_that_was_killed_and_started_again_has_everybody_back(
    homes: Network, files: tuple[Path, Path], tmp_path: Path
) -> None:
    require_transport("native")
    close_all_but_https(homes)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server(homes, tmp_path, files))
        proxy = stack.enter_context(device(homes, tmp_path / "device"))
        fetch(homes, proxy, tmp_path, "/api/media")
        first.signal(signal.SIGKILL)
        first.wait()
        (tmp_path / "again").mkdir()
        stack.enter_context(server(homes, tmp_path / "again", files))
        assert json.loads(fetch(homes, proxy, tmp_path, "/api/media")[0])["size"] == SIZE
