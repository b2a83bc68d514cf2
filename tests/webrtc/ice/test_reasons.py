"""What people are told of the way that data takes."""

from __future__ import annotations

from collections.abc import Set

import pytest

from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.events import Selected
from peerfetch_fast.webrtc.ice.reasons import reason


def way(ours: str, theirs: str) -> Selected:
    local, remote = (
        Candidate("1", 1, "udp", 1, "192.0.2.1", port, kind)
        for port, kind in ((1, ours), (2, theirs))
    )
    return Selected(1, (remote.host, remote.port), remote, local)


def test_of_the_best_way_there_is_nothing_to_say() -> None:
    assert reason(way("host", "host"), {"host"}, {"host"}, asks=True) is None


@pytest.mark.parametrize("ends", [("host", "srflx"), ("prflx", "host"), ("srflx", "prflx")])
def test_a_way_through_routers(ends: tuple[str, str]) -> None:
    assert "different networks" in str(reason(way(*ends), {"host"}, {"host"}, asks=True))


@pytest.mark.parametrize("ends", [("relay", "host"), ("host", "relay"), ("relay", "relay")])
@pytest.mark.parametrize(
    ("ours", "theirs", "asks", "says"),
    [
        ({"host"}, {"host", "srflx"}, False, "no STUN server is known here"),
        ({"host", "relay"}, {"host", "srflx"}, True, "UDP may be blocked here"),
        ({"host", "srflx"}, {"host", "relay"}, True, "UDP may be blocked there"),
        ({"host", "srflx", "relay"}, {"srflx"}, True, "gives each destination another port"),
    ],
)
def test_why_a_relay_is_needed(
    ends: tuple[str, str], ours: Set[str], theirs: Set[str], asks: bool, says: str
) -> None:
    assert says in str(reason(way(*ends), ours, theirs, asks=asks))
