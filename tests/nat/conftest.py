from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

import pytest
from tests.nat.network import Network, Unavailable, network
from tests.nat.scene import coturn, signaling_server

PROGRAMS = {
    "turnserver": "coturn",
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
}


@pytest.fixture(scope="module")
def homes() -> Iterator[Network]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            # Where nothing may be left out, it is not.
            refuse = pytest.fail if os.environ.get("PEERFETCH_INTEROP") else pytest.skip
            refuse(f"{program} is not installed (Debian: apt install {package})")
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(network())
        except Unavailable as reason:
            pytest.skip(f"no such network can be made here: {reason}")
        yield made


@pytest.fixture(scope="module")
def turn(homes: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """coturn, for STUN as well."""
    with coturn(homes, tmp_path_factory.mktemp("turn")):
        yield


@pytest.fixture(scope="module")
def signaling(homes: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with signaling_server(homes, tmp_path_factory.mktemp("signaling")) as url:
        yield url
