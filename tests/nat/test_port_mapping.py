"""A direct way through routers that no hole can be punched in: one of them is asked for a port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.nat.network import WAN_ADDRESSES, Network
from tests.nat.test_direct_only import device, fetch
from tests.nat.test_nat import ways

from processes import running

PROGRAM = shutil.which("miniupnpd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="there is no miniupnpd (Debian: apt install miniupnpd-nftables)"
)

PUBLIC = "11.0.0.11"
"""Of router 1: miniupnpd refuses the addresses that are for documents."""

RULES = """
table inet filter {
    chain miniupnpd { }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
    chain forward { type filter hook forward priority 0; jump miniupnpd; }
    chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
}
insert rule ip home through ct status dnat accept
"""

CONFIGURATION = """
ext_ifname=wan
ext_ip={public}
listening_ip=lan
port=5000
enable_natpmp={pcp}
enable_upnp={upnp}
secure_mode=yes
upnp_forward_chain=miniupnpd
lease_file={directory}/leases
allow 1024-65535 0.0.0.0/0 1024-65535
"""


@pytest.fixture(params=["PCP", "UPnP-IGD"])
def router(request: Any, homes: Network, tmp_path: Path) -> Iterator[None]:
    homes.translate("another port for each")
    inside = homes.inside("router1")
    subprocess.run([*inside, "nft", "-f", "-"], input=RULES.encode(), check=True)
    address = ["ip", "address", "replace", f"{PUBLIC}/32", "dev", "wan"]
    subprocess.run([*inside, *address], check=True)
    for place in ("server", "router2"):
        route = ["ip", "route", "replace", PUBLIC, "via", WAN_ADDRESSES["router1"]]
        subprocess.run([*homes.inside(place), *route], check=True)
    pcp = request.param == "PCP"
    configuration = tmp_path / "miniupnpd.conf"
    configuration.write_text(
        CONFIGURATION.format(
            public=PUBLIC,
            pcp="yes" if pcp else "no",
            upnp="no" if pcp else "yes",
            directory=tmp_path,
        )
    )
    listening = (*inside, "ss", "-Hulnt", "sport = :5351 or sport = :1900")
    with running(
        *(*inside, str(PROGRAM), "-d", "-f", configuration, "-P", tmp_path / "pid"),
        log=tmp_path / "miniupnpd.log",
        ready=lambda: bool(subprocess.check_output(listening)),
    ):
        yield


def opened(homes: Network) -> list[str]:
    """The ports that router 1 has opened."""
    chain = ("nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")
    return re.findall(
        r"dnat ip to (\S+)", subprocess.check_output([*homes.inside("router1"), *chain], text=True)
    )


def test_a_port_is_opened_for_a_connection_and_given_back(
    homes: Network, router: None, turn: None, signaling: str, tmp_path: Path
) -> None:
    with device(homes, signaling, tmp_path / "device", "--map-ports") as proxy:
        done = fetch(homes, proxy, signaling, tmp_path, "--direct-only")
        assert done.returncode == 0, f"{done.stderr}\n{proxy.output}"
        ((_, _, address),) = ways(done.stderr)
        assert address == PUBLIC
    assert opened(homes) == []
