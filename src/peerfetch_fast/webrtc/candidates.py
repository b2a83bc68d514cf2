"""ICE candidates in the shape that browsers give them in signaling (``RTCIceCandidateInit``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peerfetch_fast.errors import InvalidCandidate
from peerfetch_fast.webrtc.ice.candidate import Candidate

__all__ = ["IceCandidate", "candidate_from_dict", "candidate_to_dict"]

MAX_CANDIDATE_LENGTH = 1024
"""Characters in a candidate line; real ones have about 150."""


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """A candidate, and the section of the description that it is of."""

    candidate: Candidate
    sdpMid: str | None
    sdpMLineIndex: int | None


def candidate_to_dict(candidate: IceCandidate | None) -> dict[str, Any]:
    """The candidate as a browser's ``addIceCandidate`` takes it.

    :param candidate: None for the end of candidates, an empty line in the standard
        (WebRTC, section 4.8.2.1).
    """
    if candidate is None:
        return {"candidate": "", "sdpMid": None, "sdpMLineIndex": None}
    return {
        "candidate": f"candidate:{candidate.candidate.to_sdp()}",
        "sdpMid": candidate.sdpMid,
        "sdpMLineIndex": candidate.sdpMLineIndex,
    }


def candidate_from_dict(value: object) -> IceCandidate | None:
    """Read a candidate that came through signaling; None for the end of candidates.

    Raises InvalidCandidate if the value is not of that shape.
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
    try:
        return IceCandidate(Candidate.from_sdp(line), mid, index)
    except ValueError as exc:
        raise InvalidCandidate(f"not a candidate: {line!r}") from exc
