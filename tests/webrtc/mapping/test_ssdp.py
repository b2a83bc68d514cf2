"""SSDP, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.webrtc.mapping import ssdp

# What miniupnpd 2.3 has answered.
ANSWER = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"USN: uuid:0::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nEXT:\r\n"
    b"SERVER: Debian UPnP/1.1 MiniUPnPd/2.3.1\r\n"
    b"LOCATION: http://192.168.0.1:5000/rootDesc.xml\r\n"
    b'OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01\r\n\r\n'
)


def test_a_search() -> None:
    assert ssdp.search(ssdp.TARGETS[0], 2) == (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 2\r\n'
        b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
    )


def test_an_answer() -> None:
    location = "http://192.168.0.1:5000/rootDesc.xml"
    assert ssdp.location_of(ANSWER, "192.168.0.1") == location
    named_otherwise = ANSWER.replace(b"Debian", "Gerät".encode()).replace(b"\r\n", b"\n")
    assert ssdp.location_of(named_otherwise, "192.168.0.1") == location


@pytest.mark.parametrize(
    ("whole", "changed"),
    [
        (b"200 OK", b"404 Not Found"),
        (b"HTTP/1.1 200 OK", b"NOTIFY * HTTP/1.1"),
        (b"LOCATION", b"LOCUTION"),
        (b"http://192", b"http://[192"),
        (b"http://192", b"https://192"),
        (b"rootDesc", b"rootDesc\xff"),
        (b"EXT:", b"EXT:" + b"x" * ssdp.MAX_ANSWER),
    ],
)
def test_what_is_no_answer(whole: bytes, changed: bytes) -> None:
    assert ssdp.location_of(ANSWER.replace(whole, changed), "192.168.0.1") is None


def test_whoever_answers_speaks_for_itself_alone() -> None:
    assert ssdp.location_of(ANSWER, "192.168.0.2") is None


@given(st.binary(max_size=3000))
def test_whatever_comes_is_an_answer_or_none(data: bytes) -> None:
    ssdp.location_of(data, "192.168.0.1")
    location = ssdp.location_of(b"HTTP/1.1 200 OK\r\nLOCATION:" + data, "192.168.0.1")
    assert location is None or "192.168.0.1" in location
