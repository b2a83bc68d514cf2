"""Ways to a share: a link, which browsers open too, or a code."""

from __future__ import annotations

import re
from typing import NamedTuple

from peerfetch_fast.web.page_link import page_url

__all__ = ["ShareLink", "parse_link"]

# Programs that pass links on encode what they need not.
_LINK = re.compile(
    r"(https?)://([^/#\s]+)/?#([A-Za-z0-9_-]{1,128})/?(?:#|%23)"
    r"sha256(?::|%3[Aa])([0-9a-f]{64})\.([0-9a-f]{32})"
)


class ShareLink(NamedTuple):
    """The parts of ``http://HOST/#PEER-ID#PIN.TOKEN``."""

    signaling: str
    peer_id: str
    pin: str
    token: str
    """32 hexadecimal digits: who knows them may have what is shared."""

    def __str__(self) -> str:
        return page_url(self.signaling, f"{self.peer_id}#{self.pin}.{self.token}")


def parse_link(text: str) -> ShareLink | None:
    """The parts of a link; None for what is none."""
    found = _LINK.fullmatch(text.strip())
    if found is None:
        return None
    scheme = "wss" if found[1] == "https" else "ws"
    return ShareLink(f"{scheme}://{found[2]}", found[3], f"sha256:{found[4]}", found[5])
