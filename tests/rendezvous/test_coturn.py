"""coturn's configuration, and what is refused before it is written. test_rendezvous runs it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous.coturn import Coturn, CoturnSettings, configuration
from processes import posix_only


def lines(**more: object) -> list[str]:
    settings = CoturnSettings("meet.example", "north", **more)  # type: ignore[arg-type]
    return configuration(settings, Path("/c.pem"), Path("/k.pem"), Path("/d")).splitlines()


def test_relays_lead_to_public_addresses_and_coturn_does_nothing_else() -> None:
    found = lines()
    assert "static-auth-secret=north" in found
    assert {"use-auth-secret", "no-cli", "no-tcp-relay", "no-multicast-peers"} <= set(found)
    assert "denied-peer-ip=10.0.0.0-10.255.255.255" in found
    assert "allow-loopback-peers" not in found
    assert not any(line.startswith("external-ip") for line in found)


def test_what_is_asked_for_is_there() -> None:
    found = lines(
        port=3479,
        relay_ports=(50_000, 50_100),
        external_address="192.0.2.1",
        per_address=3,
        total=9,
        rate=5,
        capacity=11,
    )
    for line in ("listening-port=3479", "min-port=50000", "max-port=50100", "user-quota=3"):
        assert line in found
    assert {"total-quota=9", "max-bps=5", "bps-capacity=11"} <= set(found)
    assert "external-ip=192.0.2.1" in found
    assert not any(line.startswith("denied-peer-ip") for line in lines(private_peers=True))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"relay_ports": (80, 90)}, "from 1024"),
        ({"relay_ports": (50_001, 50_000)}, "the lower first"),
        ({"per_address": 0}, "per_address must be positive"),
        ({"capacity": -1}, "capacity must not be negative"),
        ({"external_address": "192.0.2.1\nno-auth"}, "cannot stand in"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        lines(**settings)


@posix_only
async def test_a_program_that_ends_at_once_is_told_of_with_its_words(tmp_path: Path) -> None:
    program = tmp_path / "turnserver"
    program.write_text("#!/bin/sh\necho 'no such luck'\nexit 3\n")
    program.chmod(0o755)
    coturn = Coturn(
        CoturnSettings("meet.example", "north", port=9),
        *(tmp_path / "c", tmp_path / "k", tmp_path),
        program=str(program),
    )
    with pytest.raises(RendezvousError, match="has ended at once: no such luck"):
        await coturn.start()
    assert (tmp_path / "turnserver.conf").stat().st_mode & 0o777 == 0o600
    await coturn.close()


@posix_only
async def test_errors_that_clients_cause_over_and_over_are_few_warnings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "peerfetch_fast.rendezvous")
    program = tmp_path / "turnserver"
    program.write_text(
        "#!/bin/sh\ni=0\nwhile [ $i -lt 200 ]; do echo ERROR $i; i=$((i+1)); done\nexit 3\n"
    )
    program.chmod(0o755)
    coturn = Coturn(
        CoturnSettings("meet.example", "north", port=9),
        *(tmp_path / "c", tmp_path / "k", tmp_path),
        program=str(program),
    )
    with pytest.raises(RendezvousError, match="has ended at once"):
        await coturn.start()
    await coturn.close()
    warned = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert 0 < len(warned) < 15


@posix_only
async def test_a_coturn_that_runs_already_is_not_taken_for_ours(tmp_path: Path) -> None:
    other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    coturn = Coturn(
        CoturnSettings("meet.example", "north", port=port),
        *(tmp_path / "c", tmp_path / "k", tmp_path),
        program="sh",
    )
    async with other:
        with pytest.raises(RendezvousError, match="systemctl disable --now coturn"):
            await coturn.start()
