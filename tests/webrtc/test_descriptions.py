"""Of what a peer describes, only data channels are taken, and of that only so much."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

import pytest
from aiortc.sdp import grouplines
from hypothesis import example, given
from hypothesis import strategies as st
from tests.webrtc.peers import Peer, bare_connection, close, exchange
from tests.webrtc.servers import stun_server

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc import descriptions
from peerfetch_fast.webrtc.candidates import candidate_to_dict
from peerfetch_fast.webrtc.descriptions import SessionDescription, data_only
from peerfetch_fast.webrtc.ice.gathering import IceServer

HEAD = """v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
"""
DATA = """m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:1
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 00:11
a=setup:actpass
a=sctp-port:5000
a=max-message-size:0
a=rtpmap:96 H264/90000
"""
VIDEO = """m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=mid:0
a=rtpmap:96 H264/90000
"""


@pytest.fixture
def data_pc(pc: Any) -> Any:
    """Make a peer connection of data channels, over either transport."""
    return partial(bare_connection, **pc.keywords)


def test_of_an_offer_the_data_section_is_left() -> None:
    described = data_only(HEAD + VIDEO + DATA)
    assert described.sdp == (
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00:11\r\n"
        "a=setup:actpass\r\na=sctp-port:5000\r\na=max-message-size:0\r\n"
    )
    assert (described.line, described.mid) == (1, "1")


def test_the_other_sections_are_answered_with_port_0() -> None:
    described = data_only(HEAD + VIDEO + DATA + DATA.replace("mid:1", "mid:2"))
    answer = "v=0\r\na=group:BUNDLE m=1\r\nm=application 9 x y\r\na=mid:m=1\r\n"
    assert described.answered(answer) == (
        "v=0\r\na=group:BUNDLE m=1\r\n"
        "m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:0\r\n"
        "m=application 9 x y\r\na=mid:m=1\r\n"
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n"
        "a=mid:2\r\n"
    )


def test_a_refused_section_is_not_taken() -> None:
    refused = DATA.replace("application 9", "application 0")
    assert data_only(HEAD + refused + DATA).line == 1
    assert data_only(HEAD + refused + "a=bundle-only\n" + DATA).line == 0
    assert data_only(HEAD + DATA.replace("UDP/DTLS/SCTP", "TCP/WSS") + DATA).line == 1


@pytest.mark.parametrize(
    ("sdp", "says"),
    [
        ("", "no section of data channels"),
        (HEAD + VIDEO, "no section of data channels"),
        (HEAD + "m=\n" + DATA, "not a media section"),
        (HEAD + "m=video 123456 x y\n" + DATA, "not a media section"),
        (HEAD + VIDEO * descriptions.MAX_SECTIONS + DATA, "more than 32 media sections"),
        (HEAD + DATA + "a=fingerprint:x 00\n" * 100, "more than 16 fingerprints"),
        (HEAD + DATA + f"a=x:{'y' * descriptions.MAX_LINE}\n", "a line of"),
        (HEAD + DATA + "a=x\n" * descriptions.MAX_SDP, "a description of"),
    ],
)
def test_descriptions_that_cannot_be_used_are_refused(sdp: str, says: str) -> None:
    with pytest.raises(InvalidDescription, match=says):
        data_only(sdp)


def test_candidates_are_bounded() -> None:
    sdp = data_only(HEAD + DATA + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\n" * 500).sdp
    assert sdp.count("a=candidate") == descriptions.MAX_CANDIDATES


@given(st.text(alphabet="m=vapictond 09/UDTLSC\r\n\x0b\x0c\x1c\x85\u2028:", max_size=200))
@example("\x0bm=video 9 UDP/TLS/RTP/SAVPF 96")
@example("\u2028m=video 9 UDP/TLS/RTP/SAVPF 96\u2028a=mid:5")
def test_no_other_section_gets_through(noise: str) -> None:
    """Whatever aiortc takes for the end of a line."""
    for sdp in (HEAD + DATA + noise, HEAD + noise + "\n" + DATA):
        try:
            described = data_only(sdp)
        except InvalidDescription:
            continue
        _, sections = grouplines(described.sdp)
        assert [lines[0].partition(" ")[0] for lines in sections] == ["m=application"]


SECTIONS = [
    ("audio", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:a\r\na=rtpmap:0 PCMU/8000\r\na=rtcp-mux\r\n"),
    ("video", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=rtpmap:96 VP8/90000\r\na=rtcp-mux"),
    ("text", "m=text 9 RTP/AVP 98\r\na=mid:t\r\n"),
]


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_data_connects_and_nothing_else_is_made(data_pc: Any, before: int) -> None:
    offerer, answerer = Peer(data_pc()), Peer(data_pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    sdp = offerer.connection.localDescription.sdp
    head, _, data = sdp.partition("m=application")
    credentials = "".join(re.findall(r"a=(?:ice|fingerprint|setup).*\r\n", data))
    media = [f"{section.rstrip()}\r\n{credentials}" for _, section in SECTIONS]
    data = f"m=application{data}"
    offer = head + "".join([*media[:before], data, *media[before:], data])
    await answerer.connection.setRemoteDescription(SessionDescription(offer, "offer"))
    await answerer.connection.setLocalDescription()
    if answerer.connection.transport == "aiortc":
        assert answerer.connection.getTransceivers() == []
    answer = answerer.connection.localDescription
    assert answer.type == "answer"
    kinds = [kind for kind, _ in SECTIONS]
    found = re.findall("m=([a-z]+) ([0-9]+) ", answer.sdp)
    assert [kind for kind, _ in found] == [
        *kinds[:before], "application", *kinds[before:], "application"
    ]  # fmt: skip
    assert [index for index, (_, port) in enumerate(found) if port != "0"] == [before]
    # What was refused has come to nothing, for the one as for the other.
    left = data_only(answer.sdp.replace(" 0 UDP/DTLS", " 0 X/")).sdp
    await offerer.connection.setRemoteDescription(SessionDescription(left, "answer"))
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_an_answer_to_more_than_was_offered(data_pc: Any) -> None:
    offerer, answerer = Peer(data_pc()), Peer(data_pc())
    offerer.create_channel()
    await offerer.connection.setLocalDescription()
    await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
    await answerer.connection.setLocalDescription()
    sdp = answerer.connection.localDescription.sdp + SECTIONS[0][1]
    with pytest.raises(InvalidDescription, match="not offered"):
        await offerer.connection.setRemoteDescription(SessionDescription(sdp, "answer"))
    await close(offerer, answerer)


async def test_candidates_name_the_section_where_it_stands(data_pc: Any) -> None:
    # A server sees the answerer elsewhere, of which it tells after it has described itself.
    async with stun_server(mapped=("192.0.2.77", 7)) as (host, port):
        servers = [IceServer(f"stun:{host}:{port}")]
        offerer, answerer = Peer(data_pc()), Peer(data_pc(ice_servers=servers))
        offerer.create_channel()
        await offerer.connection.setLocalDescription()
        head, _, data = offerer.connection.localDescription.sdp.partition("m=application")
        data = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", data)
        sdp = f"{head}{SECTIONS[0][1]}m=application{data}"
        await answerer.connection.setRemoteDescription(SessionDescription(sdp, "offer"))
        await answerer.connection.setLocalDescription()
        (mid,) = re.findall("a=mid:(.*)\r\n", data)
        found = (await answerer.all_candidates())[0]
        told = candidate_to_dict(found)
        assert "192.0.2.77" in told["candidate"]
        assert (told["sdpMid"], told["sdpMLineIndex"]) == (mid, 1)
        await close(offerer, answerer)


async def test_candidates_of_other_sections_are_passed_over(data_pc: Any) -> None:
    offerer, answerer = Peer(data_pc()), Peer(data_pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    head, _, data = offerer.connection.localDescription.sdp.partition("m=application")
    lines = re.findall(r"a=(candidate:.*)\r\n", data)
    data = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", data)
    sdp = f"{head}{SECTIONS[0][1]}m=application{data}"
    await answerer.connection.setRemoteDescription(SessionDescription(sdp, "offer"))
    await answerer.connection.setLocalDescription()
    for where in ({"sdpMid": "a", "sdpMLineIndex": 0}, {"sdpMLineIndex": 0}):
        await answerer.add(lines[0], **where)
    await asyncio.sleep(0.1)
    assert answerer.connection.remote_address is None
    await answerer.add(lines[0], sdpMLineIndex=1)
    # Of the answer, the offerer is to see the section that it had offered.
    left = data_only(answerer.connection.localDescription.sdp).sdp
    await offerer.connection.setRemoteDescription(SessionDescription(left, "answer"))
    await exchange(answerer, channel)
    await close(offerer, answerer)
