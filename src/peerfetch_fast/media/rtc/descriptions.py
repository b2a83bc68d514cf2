"""Offers of media (RFC 8866, RFC 9429), and the answers to them, in WHEP's and WHIP's shape: one
transport, each track of the offerer's one section. An answer is read as an offer is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES, MAX_FINGERPRINTS, refusal, split
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.sdp import (
    read_candidates,
    read_credentials,
    read_fingerprints,
    read_role,
)

__all__ = [
    "OPUS_FORMAT",
    "Answered",
    "Offer",
    "Offered",
    "Section",
    "direction_for",
    "h264_formats",
    "read_fragment",
    "read_offer",
    "write_answer",
    "write_offer",
]

_MEDIA = re.compile(
    r"m=(audio|video|application) ([0-9]{1,5})(?:/[0-9]{1,5})? ([!-~]+) ([!-~]+)[ -~]*"
)
_RTPMAP = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9-]{1,32})/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_TOKEN = re.compile(r"[!-~]{1,64}")

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")
_REVERSED: dict[str, Direction] = {
    "sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive",
}  # fmt: skip

MAX_CODECS = 128
"""Codecs of a section that are read."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the offer.

    :ivar kind: ``audio``, ``video`` or another, which is refused.
    :ivar direction: as the offerer sees it.
    :ivar payload_type: of the codec that both have; None for none.
    :ivar format: the codec's parameters of the offer (``a=fmtp``).
    """

    line: str
    kind: str
    mid: str
    direction: Direction
    payload_type: int | None
    format: str
    feedback: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether the section can be answered with something."""
        return self.kind in ("audio", "video") and self.payload_type is not None


@dataclass(frozen=True, slots=True)
class Offer:
    """What the other side offers.

    The fields are those of :class:`~peerfetch_fast.webrtc.sdp.Remote` where they have its names.
    """

    sections: tuple[Section, ...]
    ufrag: str
    password: str
    lite: bool
    fingerprints: tuple[tuple[str, bytes], ...]
    setup: str
    candidates: tuple[Candidate, ...]
    complete: bool


def read_offer(sdp: str, profile: str = "") -> Offer:
    """Read an offer.

    :param profile: that of the pictures that will be sent (``6400``, as in RFC 6184 section 8.1):
        of several offered ones the one that says it is taken.

    Raises InvalidDescription if it cannot be answered, or exceeds a bound."""
    head, sections = split(sdp)
    if not sections:
        raise InvalidDescription("the offer has no media")
    # All is bundled (RFC 8843): the first section's transport is that of all.
    merged: dict[str, list[str]] = {}
    for lines in (head, *sections):
        for line in lines:
            if line.startswith("a="):
                name, _, value = line[2:].partition(":")
                merged.setdefault(name, []).append(value.strip())

    def first(name: str) -> str | None:
        return merged[name][0] if name in merged else None

    setup = read_role(first("setup"))
    fingerprints = list(dict.fromkeys(merged.get("fingerprint", [])))[:MAX_FINGERPRINTS]
    ufrag, password = read_credentials(first("ice-ufrag"), first("ice-pwd"))
    candidates = list(dict.fromkeys(merged.get("candidate", [])))[:MAX_CANDIDATES]
    return Offer(
        sections=tuple(_read_section(lines, profile) for lines in sections),
        ufrag=ufrag,
        password=password,
        lite="ice-lite" in merged,
        fingerprints=read_fingerprints(fingerprints),
        setup=setup,
        candidates=read_candidates(candidates),
        complete="end-of-candidates" in merged,
    )


def _read_section(lines: list[str], profile: str) -> Section:
    media = _MEDIA.fullmatch(lines[0])
    if media is None:
        raise InvalidDescription(f"not a media section: {lines[0]!r}")
    kind, _, protocol, form = media.groups()
    values: dict[str, list[str]] = {}
    direction: Direction = "sendrecv"
    for line in lines[1:]:
        name, _, value = line[2:].partition(":")
        if name in _DIRECTIONS:
            direction = name
        elif name in ("mid", "rtpmap", "fmtp", "rtcp-fb"):
            values.setdefault(name, []).append(value.strip())
    mid = values.get("mid", [""])[0]
    if not _TOKEN.fullmatch(mid):
        raise InvalidDescription(f"a section without a name: {lines[0]!r}")
    payload_type, parameters = _choose(kind, values, profile)
    feedback = tuple(
        value.partition(" ")[2]
        for value in values.get("rtcp-fb", ())
        if value.split(" ")[0] in ("*", str(payload_type))
    )
    line = f"{kind} 9 UDP/TLS/RTP/SAVPF {payload_type}"
    if payload_type is None:
        line = f"{kind} 0 {protocol} {form}"
    return Section(line, kind, mid, direction, payload_type, parameters, feedback)


def _choose(kind: str, values: dict[str, list[str]], profile: str) -> tuple[int | None, str]:
    """The codec that is taken: Opus; of H.264 the best of packetization mode 1."""
    formats: dict[str, str] = {}
    for value in values.get("fmtp", ()):
        named, _, rest = value.partition(" ")
        formats[named] = rest
    found: list[tuple[int, int, str]] = []
    for value in values.get("rtpmap", [])[:MAX_CODECS]:
        match = _RTPMAP.fullmatch(value)
        if match is None or int(match[1]) > 127:
            continue
        number, name, parameters = int(match[1]), match[2].lower(), formats.get(match[1], "")
        if kind == "audio" and name == "opus" and match[3] == "48000":
            return number, parameters
        if kind == "video" and name == "h264" and match[3] == "90000":
            rank = _rank(parameters, profile)
            if rank is not None:
                found.append((rank, number, parameters))
    if not found:
        return None, ""
    _, number, parameters = min(found)
    return number, parameters


_PROFILES = ("42e0", "4200", "4d00", "6400", "640c")


def _rank(parameters: str, profile: str) -> int | None:
    """How well an offered H.264 suits; None: not. Pictures are passed on as they are, and what
    browsers offer says little of what they decode: they take a higher profile under any.
    """
    pairs = dict(
        part.strip().lower().partition("=")[::2] for part in parameters.split(";") if "=" in part
    )
    if pairs.get("packetization-mode", "0") != "1":
        return None
    offered = pairs.get("profile-level-id", "42000a")[:4]
    if offered == profile:
        return -1
    return _PROFILES.index(offered) if offered in _PROFILES else len(_PROFILES)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer says of one section.

    :ivar direction: as we see it.
    :ivar ssrc: of what we send there; None where nothing.
    """

    direction: Direction
    ssrc: int | None = None


def write_answer(
    offer: Offer,
    answered: dict[str, Answered],
    *,
    session: int,
    ufrag: str,
    password: str,
    fingerprint: bytes,
    setup: str,
    candidates: list[Candidate],
    complete: bool,
    stream: str,
) -> str:
    """The answer to an offer.

    :param answered: by the names of sections; the others are refused.
    :param stream: names the stream that sound and pictures belong to.
    """
    mids = [section.mid for section in offer.sections if section.mid in answered]
    lines = _head(session, mids, stream)
    for section in offer.sections:
        answer = answered.get(section.mid)
        if answer is None:
            _, _, protocol, form = section.line.split(" ")
            lines += refusal(section.kind, protocol, form, section.mid)
            continue
        lines += [
            f"m={section.line}",
            *_transport(section.mid, ufrag, password, fingerprint, setup),
            f"a={answer.direction}",
            *_codec_lines(section),
            *_track(stream, section.kind, answer.ssrc),
        ]
        if section.mid == mids[0]:
            lines += _candidate_lines(candidates, complete)
    return _text(lines)


@dataclass(frozen=True, slots=True)
class Offered:
    """A track that an offer sends.

    :ivar formats: the parameters of its codec (``a=fmtp``), each under a number of its own.
    """

    kind: Literal["audio", "video"]
    ssrc: int
    formats: tuple[str, ...]


OPUS_FORMAT = "minptime=10;useinbandfec=1"
FIRST_NUMBER = 96
"""The first payload type of an offer (RFC 3551 section 3)."""


def h264_formats(profile_level: str) -> tuple[str, ...]:
    """The formats under which pictures are offered: their own, and those that browsers name, which
    take a higher profile under any.

    :param profile_level: of the pictures (``64001f``, as in RFC 6184 section 8.1).
    """
    named = dict.fromkeys([profile_level[:4], *_PROFILES])
    level = profile_level[4:]
    return tuple(
        f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}{level}"
        for profile in named
    )


def write_offer(
    tracks: list[Offered],
    *,
    session: int,
    ufrag: str,
    password: str,
    fingerprint: bytes,
    candidates: list[Candidate],
    complete: bool,
    stream: str,
) -> str:
    """An offer to send tracks.

    :param stream: names the stream that they belong to.
    """
    mids = [str(index) for index in range(len(tracks))]
    lines = _head(session, mids, stream)
    number = FIRST_NUMBER
    for mid, track in zip(mids, tracks, strict=True):
        numbers = range(number, number + len(track.formats))
        number = numbers.stop
        lines += [
            f"m={track.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))}",
            *_transport(mid, ufrag, password, fingerprint, "actpass"),
            "a=sendonly",
        ]
        for one, format in zip(numbers, track.formats, strict=True):
            feedback = _FEEDBACK if track.kind == "video" else ()
            line = f"{track.kind} 9 UDP/TLS/RTP/SAVPF {one}"
            section = Section(line, track.kind, mid, "sendonly", one, format, feedback)
            lines += _codec_lines(section)
        lines += _track(stream, track.kind, track.ssrc)
        if mid == mids[0]:
            lines += _candidate_lines(candidates, complete)
    return _text(lines)


def _head(session: int, mids: list[str], stream: str) -> list[str]:
    return [
        "v=0",
        f"o=- {session} 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(mids)}",
        "a=ice-options:trickle",
        f"a=msid-semantic: WMS {stream}",
    ]


def _transport(
    mid: str, ufrag: str, password: str, fingerprint: bytes, setup: str
) -> tuple[str, ...]:
    return (
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{password}",
        f"a=fingerprint:sha-256 {fingerprint.hex(':').upper()}",
        f"a=setup:{setup}",
        "a=rtcp-mux",
    )


def _track(stream: str, kind: str, ssrc: int | None) -> list[str]:
    if ssrc is None:
        return []
    return [f"a=msid:{stream} {stream}-{kind}", f"a=ssrc:{ssrc} cname:{stream}"]


def _candidate_lines(candidates: list[Candidate], complete: bool) -> list[str]:
    lines = [f"a=candidate:{candidate.to_sdp()}" for candidate in candidates]
    return [*lines, "a=end-of-candidates"] if complete else lines


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")


def _codec_lines(section: Section) -> list[str]:
    number = section.payload_type
    codec = "opus/48000/2" if section.kind == "audio" else "H264/90000"
    wanted = _FEEDBACK if section.kind == "video" else ()
    return [
        f"a=rtpmap:{number} {codec}",
        *([f"a=fmtp:{number} {section.format}"] if section.format else []),
        *(f"a=rtcp-fb:{number} {name}" for name in wanted if name in section.feedback),
    ]


def direction_for(section: Section, *, sends: bool, receives: bool) -> Direction:
    """Our direction for a section, of what it offers and what we can."""
    offered = _REVERSED[section.direction]
    sends = sends and offered in ("sendrecv", "sendonly")
    receives = receives and offered in ("sendrecv", "recvonly")
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def read_fragment(fragment: str) -> tuple[list[Candidate], bool]:
    """The candidates of a trickle fragment (RFC 8840), and whether it says that there are no more.

    Raises InvalidDescription for one that exceeds a bound.
    """
    head, sections = split(fragment)
    lines = [line for part in (head, *sections) for line in part]
    values = [line[len("a=candidate:") :] for line in lines if line.startswith("a=candidate:")]
    return list(read_candidates(values[:MAX_CANDIDATES])), "a=end-of-candidates" in lines
