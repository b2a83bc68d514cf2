"""Reading the peer's requests, and answering them (RFC 8445 section 7.3)."""

from __future__ import annotations

from collections.abc import Sequence

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.checklist import CheckList
from peerfetch_fast.webrtc.ice.events import Address

__all__ = ["Budget", "authenticate", "refusal", "success"]


class Budget:
    """The number of requests that are still answered in this second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._count = 0
        self._until = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is answered."""
        if not now < self._until <= now + 1.0:
            self._count, self._until = 0, now + 1.0
        self._count += 1
        return self._count <= self._per_second


def authenticate(
    data: bytes, checklists: Sequence[CheckList]
) -> tuple[stun.Message, CheckList] | None:
    """The request, and the run that it is of; None if the peer has not signed it.

    Whoever can reach the port chooses these bytes: a search for our fragment costs a tenth of
    parsing, which costs half of checking a signature.
    """
    for checklist in checklists:
        credentials = checklist.credentials
        if credentials.prefix not in data:
            continue
        try:
            message = stun.parse(data)
        except stun.StunError:
            return None
        username = message.attributes.get(stun.USERNAME, b"")
        if credentials.accepts(username) and message.verify(credentials.local_key):
            return message, checklist
    return None


def success(
    request: stun.Message, address: Address, key: bytes, extra: Sequence[tuple[int, bytes]]
) -> bytes:
    """The answer to a request that came from this address."""
    mapped = stun.pack_address(address, request.transaction)
    body = stun.attribute(stun.XOR_MAPPED_ADDRESS, mapped)
    for name, value in extra:
        body += stun.attribute(name, value)
    return stun.seal(stun.RESPONSE, request.transaction, body, key)


def refusal(request: stun.Message, key: bytes, code: int, reason: str) -> bytes:
    """The answer to a request that was signed and cannot be met."""
    unknown = request.unknown if code == 420 else ()
    body = stun.pack_error(code, reason, unknown)
    return stun.seal(stun.ERROR, request.transaction, body, key)
