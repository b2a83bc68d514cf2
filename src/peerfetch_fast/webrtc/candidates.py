"""ICE candidates in the shape that browsers give them in signaling (``RTCIceCandidateInit``)."""

from __future__ import annotations

from typing import Any

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from peerfetch_fast.errors import InvalidCandidate

__all__ = ["candidate_from_dict", "candidate_to_dict"]

MAX_CANDIDATE_LENGTH = 1024
"""Characters in a candidate line; real ones have about 150."""


def candidate_to_dict(candidate: RTCIceCandidate | None) -> dict[str, Any]:
    """The candidate as a browser's ``addIceCandidate`` takes it.

    :param candidate: None for the end of candidates, an empty line in the standard
        (WebRTC, section 4.8.2.1).
    """
    if candidate is None:
        return {"candidate": "", "sdpMid": None, "sdpMLineIndex": None}
    return {
        "candidate": f"candidate:{candidate_to_sdp(candidate)}",
        "sdpMid": candidate.sdpMid,
        "sdpMLineIndex": candidate.sdpMLineIndex,
    }


def candidate_from_dict(value: object) -> RTCIceCandidate | None:
    """Read a candidate that came through signaling; None for the end of candidates.

    :raises InvalidCandidate: the value is not of that shape.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidCandidate("a candidate must be an object")
    line = value.get("candidate")
    mid = value.get("sdpMid")
    index = value.get("sdpMLineIndex")
    if not isinstance(line, str) or len(line) > MAX_CANDIDATE_LENGTH:
        raise InvalidCandidate("a candidate must be a string of reasonable length")
    if not isinstance(mid, str | None) or len(mid or "") > MAX_CANDIDATE_LENGTH:
        raise InvalidCandidate("sdpMid must be a string of reasonable length")
    if not isinstance(index, int | None) or isinstance(index, bool):
        raise InvalidCandidate("sdpMLineIndex must be an integer")
    line = line.strip().removeprefix("a=").removeprefix("candidate:")
    if not line:
        return None
    if mid is None and index is None:
        raise InvalidCandidate("a candidate needs sdpMid or sdpMLineIndex")
    fields = line.split()
    if len(fields) < 8 or fields[6] != "typ":
        raise InvalidCandidate(f"not a candidate: {line!r}")
    try:
        candidate = candidate_from_sdp(line)
    except ValueError as exc:
        raise InvalidCandidate(f"not a candidate: {line!r}") from exc
    # RFC 8839 section 5.1; a TCP candidate that only connects has port 9 or 0.
    if (
        not 1 <= candidate.component <= 256
        or not 0 <= candidate.priority < 2**32
        or not 0 <= candidate.port < 65536
    ):
        raise InvalidCandidate(f"a number is out of range: {line!r}")
    candidate.sdpMid = mid
    candidate.sdpMLineIndex = index
    return candidate
