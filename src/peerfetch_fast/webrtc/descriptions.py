"""Session descriptions of which only the data channels are wanted (RFC 8829, RFC 8841).

What is not wanted is taken out before anything else is read: aiortc, for one, makes receivers and
decoders for each audio or video section of whoever offers one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from peerfetch_fast.errors import InvalidDescription

__all__ = [
    "MAX_CANDIDATES",
    "MAX_FINGERPRINTS",
    "MAX_LINE",
    "MAX_SDP",
    "MAX_SECTIONS",
    "DataDescription",
    "SessionDescription",
    "data_only",
    "refusal",
    "split",
]

MAX_SDP = 64 * 1024
"""Characters of the longest description that is read; browsers' of data channels have 1,000."""

MAX_LINE = 2_048
"""Characters of its longest line."""

MAX_SECTIONS = 32
"""Media sections that it has at most."""

MAX_CANDIDATES = 64
"""Candidates of it that are read; more are ignored."""

MAX_FINGERPRINTS = 16
"""Fingerprints that it has at most, each of another algorithm."""

_MEDIA = re.compile(r"m=([!-~]+) ([0-9]{1,5})(?:/[0-9]{1,5})? ([!-~]+) ([!-~]+)([ -~]*)")

_ATTRIBUTES = {
    "candidate", "end-of-candidates", "fingerprint", "ice-lite", "ice-options", "ice-pwd",
    "ice-ufrag", "max-message-size", "mid", "sctp-init", "sctp-port", "sctpmap", "setup",
}  # fmt: skip
"""The attributes that are read. Groups are not: a single section is bundled with nothing."""


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A description as signaling carries it.

    :ivar sdp: its text.
    :ivar type: ``offer`` or ``answer``.
    """

    sdp: str
    type: str


@dataclass(frozen=True, slots=True)
class DataDescription:
    """A description with but its first section of data channels.

    :ivar sdp: the description.
    :ivar line: where that section stood.
    :ivar mid: its identification, or "".
    :ivar others: the answers to the others, each a section with port 0, by where they stood.
    """

    sdp: str
    line: int
    mid: str
    others: Mapping[int, str]

    def answered(self, answer: str) -> str:
        """An answer to the section that was kept, with the others in their places (RFC 8829 section
        5.3.1).
        """
        head, _, section = answer.partition("\r\nm=")
        sections = {**self.others, self.line: f"m={section}"}
        return f"{head}\r\n" + "".join(sections[line] for line in sorted(sections))

    def is_of_data(self, mid: str | None, line: int | None) -> bool:
        """Whether a candidate with this ``sdpMid`` and ``sdpMLineIndex`` is of the section."""
        return line == self.line if mid is None else mid == self.mid


def data_only(sdp: str) -> DataDescription:
    """Leave of a description the first section of data channels that is not refused.

    Raises InvalidDescription if there is none, or something exceeds its bound.
    """
    head, sections = split(sdp)
    found: int | None = None
    others: dict[int, str] = {}
    for index, section in enumerate(sections):
        media = _MEDIA.fullmatch(section[0])
        if media is None:
            raise InvalidDescription(f"not a media section: {section[0]!r}")
        kind, port, profile, form, _ = media.groups()
        open_ = int(port) > 0 or "a=bundle-only" in section
        if found is None and kind == "application" and "SCTP" in profile and open_:
            found = index
        else:
            refused = refusal(kind, profile, form, _value(section, "mid"))
            others[index] = "".join(f"{line}\r\n" for line in refused)
    if found is None:
        raise InvalidDescription("the description has no section of data channels")
    lines = [*_kept(head), sections[found][0], *_kept(sections[found][1:])]
    text = "".join(f"{line}\r\n" for line in lines)
    return DataDescription(text, found, _value(sections[found], "mid") or "", others)


def split(sdp: str) -> tuple[list[str], list[list[str]]]:
    """The lines before the first media section, and those of each, which begin with its ``m=``.

    Raises InvalidDescription if something exceeds its bound.
    """
    if len(sdp) > MAX_SDP:
        raise InvalidDescription(f"a description of {len(sdp)} characters: at most {MAX_SDP}")
    head: list[str] = []
    sections: list[list[str]] = []
    lines = head
    for line in sdp.splitlines():  # as aiortc does, which knows more ends of lines than SDP has
        if len(line) > MAX_LINE:
            raise InvalidDescription(f"a line of {len(line)} characters: at most {MAX_LINE}")
        if line.startswith("m="):
            if len(sections) == MAX_SECTIONS:
                raise InvalidDescription(f"more than {MAX_SECTIONS} media sections")
            lines = []
            sections.append(lines)
        if line:
            lines.append(line)
    return head, sections


def _kept(lines: list[str]) -> list[str]:
    """The lines that are to be read."""
    kept: list[str] = []
    count = {"candidate": 0, "fingerprint": 0}
    for line in lines:
        name = line[2:].partition(":")[0]
        if line[:2] == "a=":
            if name not in _ATTRIBUTES:
                continue
            if name in count:
                count[name] += 1
                if count["fingerprint"] > MAX_FINGERPRINTS:
                    raise InvalidDescription(f"more than {MAX_FINGERPRINTS} fingerprints")
                if name == "candidate" and count[name] > MAX_CANDIDATES:
                    continue
        elif line[:2] not in ("v=", "o=", "s=", "t=", "c="):
            continue
        kept.append(line)
    return kept


def _value(section: list[str], name: str) -> str | None:
    """Of the first attribute of that name."""
    start = f"a={name}:"
    return next((line[len(start) :].strip() for line in section if line.startswith(start)), None)


def refusal(kind: str, profile: str, form: str, mid: str | None) -> list[str]:
    """The lines of an answer that refuse a section (RFC 8829 section 5.3.1)."""
    lines = [f"m={kind} 0 {profile} {form}", "c=IN IP4 0.0.0.0", "a=inactive"]
    return lines if mid is None else [*lines, f"a=mid:{mid}"]
