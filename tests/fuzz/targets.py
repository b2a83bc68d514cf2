"""What the parsers of the peer's bytes must stand, whatever these are.

A target takes an input, and raises for what it must not do: any error that is not one of ours, more
memory than was granted, or an answer that is no frame. They stand in the files beside this one,
each beside the inputs that it begins with (NAME_seeds); SCTP's, in Cython, in native/. A target's
module is imported when the target is asked for: a fuzzer changes the code of each module that it
imports, which takes longer than a short run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from peerfetch_fast.webrtc import HAVE_NATIVE

CORPUS = Path(__file__).with_name("corpus")
"""Inputs that were found to reach something new, in a directory for each target."""

TARGETS = {
    "frames": "parsers.frames",
    "blocks": "parsers.blocks",
    "heads": "parsers.heads",
    "websocket": "parsers.websocket",
    "h1_requests": "h1.h1_requests",
    "h1_responses": "h1.h1_responses",
    "binarypack": "packs.binarypack",
    "h264": "media.h264",
    "h265": "media.h265",
    "hub": "hubs.hub",
    "hub_client": "hubs.hub_client",
    "ice": "agents.ice",
    "media": "media.media",
    "negotiation": "descriptions.negotiation",
    "peerfetch1_client": "old_peers.peerfetch1_client",
    "peerfetch1_messages": "old_peers.peerfetch1_messages",
    "peerfetch1_proxy": "old_peers.peerfetch1_proxy",
    "people": "invited.people",
    "peernet": "peernet.realm",
    "peernet_filter": "peernet.filters",
    "port_mapping": "mappings.port_mapping",
    "realm": "realms.realm",
    "receive": "buffers.receive",
    "sdp": "descriptions.sdp",
    "share": "sharing.share",
    "turn": "relaying.turn_client",
}
"""By name, the module beside this one and the function."""

if HAVE_NATIVE:
    TARGETS |= {"dtls": "datagrams.dtls", "path": "datagrams.path"}


def target(name: str) -> Callable[[bytes], int | None]:
    """One that runs an input as a program returns how many steps it had."""
    found: Callable[[bytes], int | None] = _find(TARGETS[name])
    return found


def seeds(name: str) -> list[bytes]:
    """Inputs to begin with."""
    found: list[bytes] = _find(f"{TARGETS[name]}_seeds")()
    return found


def _find(place: str) -> Any:
    module, function = place.split(".")
    return getattr(import_module(f"tests.fuzz.{module}"), function)


if __name__ == "__main__":
    print(*TARGETS, sep="\n")
