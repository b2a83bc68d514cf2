"""Messages on the wire: the vectors of RFC 5769, and what is not a message."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.webrtc.ice import stun

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
USERNAME = b"evtj:h6vY"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)


@pytest.mark.parametrize("data", [REQUEST, IPV4, IPV6])
def test_the_vectors_are_signed(data: bytes) -> None:
    message = stun.parse(data)
    assert message.transaction == TRANSACTION
    assert message.verify(PASSWORD)
    assert not message.verify(PASSWORD[:-1])
    assert message.unknown == []


def test_vectors_of_rfc_5769_are_parsed_and_verified() -> None:
    request = stun.parse(REQUEST)
    assert request.kind == stun.REQUEST
    assert request.attributes[stun.USERNAME] == USERNAME
    assert request.attributes[stun.PRIORITY] == bytes.fromhex("6e0001ff")
    assert request.attributes[stun.ICE_CONTROLLED] == bytes.fromhex("932ff9b151263b36")
    assert request.attributes[0x8022] == b"STUN test client"
    for data, address in (
        (IPV4, ("192.0.2.1", 32853)),
        (IPV6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ):
        answer = stun.parse(data)
        assert answer.kind == stun.RESPONSE
        mapped = answer.attributes[stun.XOR_MAPPED_ADDRESS]
        assert stun.unpack_address(mapped, TRANSACTION) == address
        assert stun.pack_address(address, TRANSACTION) == mapped


def test_a_message_is_parsed_as_it_was_encoded_and_verified() -> None:
    attributes = {stun.USERNAME: USERNAME, 0xC070: bytes(7), stun.USE_CANDIDATE: b""}
    data = stun.Message(stun.REQUEST, TRANSACTION, attributes).encode(b"key")
    message = stun.parse(data)
    assert message.attributes == attributes
    assert message.verify(b"key")
    unsigned = stun.parse(stun.Message(stun.REQUEST, TRANSACTION, attributes).encode())
    assert unsigned.attributes == attributes
    assert not unsigned.verify(b"key")


def test_what_stands_behind_the_signature_does_not_count() -> None:
    message = stun.Message(stun.REQUEST, TRANSACTION, {stun.PRIORITY: bytes(4)})
    data = bytearray(message.encode(b"k"))
    del data[-8:]
    data += stun.attribute(stun.USE_CANDIDATE, b"")
    data[2:4] = (len(data) - 20).to_bytes(2, "big")
    message = stun.parse(bytes(data))
    assert message.verify(b"k")
    assert set(message.attributes) == {stun.PRIORITY}


def test_of_two_alike_the_first_counts() -> None:
    body = stun.attribute(stun.PRIORITY, b"1234") + stun.attribute(stun.PRIORITY, b"5678")
    message = stun.parse(stun.seal(stun.REQUEST, TRANSACTION, body, b"k"))
    assert message.attributes == {stun.PRIORITY: b"1234"}


def test_what_must_be_understood_is_named() -> None:
    body = stun.attribute(0x7FFF, b"") + stun.attribute(0xFFFF, b"")
    assert stun.parse(stun.seal(stun.REQUEST, TRANSACTION, body, b"k")).unknown == [0x7FFF]


def _with_fingerprint(head: bytes) -> bytes:
    return head + struct.pack(">HHI", 0x8028, 4, zlib.crc32(head) ^ 0x5354554E)


HEAD = bytes.fromhex("000100002112a442") + TRANSACTION
MALFORMED = {
    "empty": b"",
    "short": HEAD[:-1],
    "another cookie": HEAD[:4] + bytes(4) + HEAD[8:],
    "not a type": b"\x40" + HEAD[1:],
    "a length that is not": HEAD[:3] + b"\x04" + HEAD[4:],
    "a length that is odd": HEAD[:3] + b"\x02" + HEAD[4:] + bytes(2),
    "an attribute beyond the end": HEAD[:3] + b"\x04" + HEAD[4:] + bytes.fromhex("00060001"),
    "a wrong fingerprint": REQUEST[:-1] + b"\0",
    "a fingerprint that is not the last": _with_fingerprint(HEAD[:3] + b"\x0c" + HEAD[4:])
    + bytes.fromhex("00250000"),
    "a short signature": HEAD[:3] + b"\x08" + HEAD[4:] + bytes.fromhex("0008000400000000"),
    "too many attributes": HEAD[:3] + b"\x84" + HEAD[4:] + bytes.fromhex("00250000") * 33,
    "too long": HEAD[:2] + (1484).to_bytes(2, "big") + HEAD[4:] + bytes(1484),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_a_message_is_refused(name: str) -> None:
    with pytest.raises(stun.StunError):
        stun.parse(MALFORMED[name])


@pytest.mark.parametrize("value", [b"", bytes(8), b"\0\1" + bytes(5), b"\0\2" + bytes(6)])
def test_what_is_not_an_address_is_refused(value: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.unpack_address(value, TRANSACTION)


def test_error_codes_are_read_from_their_attribute() -> None:
    body = stun.pack_error(487, "Role Conflict")
    message = stun.parse(stun.seal(stun.ERROR, TRANSACTION, body, b"k"))
    assert stun.error_code(message) == 487
    assert stun.error_code(stun.Message(stun.ERROR, TRANSACTION, {})) == 0
    body = stun.pack_error(420, "Unknown Attribute", [0x7FFE, 0x7FFF])
    message = stun.parse(stun.seal(stun.ERROR, TRANSACTION, body, b"k"))
    assert message.attributes[stun.UNKNOWN_ATTRIBUTES] == b"\x7f\xfe\x7f\xff"


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda body: HEAD + body))
def test_anything_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(stun.StunError):
        message = stun.parse(data)
        assert not message.verify(b"a key")
