"""CPace: the draft's vectors, and another implementation of it."""

from __future__ import annotations

import cpace as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import AccessDenied
from peerfetch_fast.streams.cpace import Exchange

# draft-irtf-cfrg-cpace-21, "Test vector for CPace using group X25519 and hash SHA-512".
PASSWORD = b"Password"
CHANNEL = b"oc\x0bB_responder\x0bA_initiator"
SESSION = bytes.fromhex("7e4b4791d6a8ef019b936c79fb7f2c57")
SCALARS = (
    bytes.fromhex("21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080"),
    bytes.fromhex("848b0779ff415f0af4ea14df9dd1d3c29ac41d836c7808896c4eba19c51ac40a"),
)
SHARES = (
    "1b02dad6dbd29a07b6d28c9e04cb2f184f0734350e32bb7e62ff9dbcfdb63d15",
    "20cda5955f82c4931545bcbf40758ce1010d7db4db2a907013d79c7a8fcf957f",
)
KEY = (
    "a051ee5ee2499d16da3f69f430218b8ea94a18a45b67f9e86495b382c33d14a5"
    "c38cecc0cc834f960e39e0d1bf7d76b9ef5d54eecc5e0f386c97ad12da8c3d5f"
)
LOW_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)

secrets = st.binary(min_size=32, max_size=32)


def of_the_draft(scalar: bytes) -> Exchange:
    return Exchange(PASSWORD, channel=CHANNEL, session=SESSION, scalar=scalar)


def test_the_drafts_vector() -> None:
    one, other = map(of_the_draft, SCALARS)
    assert (one.share.hex(), other.share.hex()) == SHARES
    first = one.key(other.share, initiator=True, local_data=b"ADa", remote_data=b"ADb")
    second = other.key(one.share, initiator=False, local_data=b"ADb", remote_data=b"ADa")
    assert first.hex() == second.hex() == KEY


@pytest.mark.parametrize("share", LOW_ORDER)
def test_points_of_low_order_are_refused(share: str) -> None:
    with pytest.raises(AccessDenied):
        of_the_draft(SCALARS[0]).key(bytes.fromhex(share), initiator=True)


@pytest.mark.parametrize("share", [b"", bytes(31), b"\x09" + bytes(32)])
def test_shares_of_another_length_are_refused(share: bytes) -> None:
    with pytest.raises(AccessDenied):
        of_the_draft(SCALARS[0]).key(share, initiator=True)


@given(st.binary(max_size=300), st.binary(max_size=300), secrets, secrets, st.booleans())
def test_against_another_implementation(
    password: bytes, channel: bytes, scalar: bytes, theirs: bytes, initiator: bool
) -> None:
    role = reference.CPaceRole.RESPONDER if initiator else reference.CPaceRole.INITIATOR
    generator = reference._calculate_generator(password, channel, b"")
    share = reference._scalar_mult_vfy(theirs, generator)
    assert share is not None
    other = reference.CPace(role=role, sid=b"", ad=b"", scalar=theirs, public_share=share)
    ours = Exchange(password, channel=channel, scalar=scalar)
    other.derive(ours.share)
    assert ours.key(share, initiator=initiator) == other.isk


@given(secrets, secrets, st.sampled_from(["password", "channel", "session"]))
def test_whoever_knows_something_else_has_another_key(
    one: bytes, other: bytes, differs: str
) -> None:
    known = {"password": b"one", "channel": b"here", "session": b"now"}
    ours = Exchange(known.pop("password"), **known, scalar=one)
    known = {"password": b"one", "channel": b"here", "session": b"now"} | {differs: b"else"}
    theirs = Exchange(known.pop("password"), **known, scalar=other)
    assert ours.key(theirs.share, initiator=True) != theirs.key(ours.share, initiator=False)
