from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from peerfetch_fast.signaling.origins import Origins, parse_origin

APP = "https://app.example"


def sent(origin: str | None, host: str = "10.0.0.7:9000") -> CIMultiDict[str]:
    headers = CIMultiDict({"Host": host})
    if origin is not None:
        headers["Origin"] = origin
    return headers


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example", APP),
        ("HTTPS://App.Example:443/", APP),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_origins_are_read_as_browsers_write_them(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "app.example", "//app.example", "https://", "https://*.example"),
        *("https://app.example/path", "https://app.example?q", "https://app.example#f"),
        *("https://user@app.example", "https://app.example:99999", "https://a b", "file:///x"),
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        parse_origin(text)


def test_without_a_list_everybody_may() -> None:
    origins = Origins()
    for origin in ("https://any.example", "null"):
        assert origins.refusal(sent(origin)) is None
        expected = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        assert origins.cors(sent(origin)) == expected
    assert origins.refusal(sent(None)) is None
    assert origins.cors(sent(None)) == {"Vary": "Origin"}


def test_with_a_list_others_are_told_why_they_may_not() -> None:
    origins = Origins([APP, "http://10.0.0.8:80"])
    for origin in (APP, "http://10.0.0.8"):
        assert origins.refusal(sent(origin)) is None
        assert origins.cors(sent(origin)) == {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
        }
    for origin in (
        *("https://app.example.evil", "http://app.example", "https://app.example:8443"),
        *("null", "", "https://sub.app.example", "https://app.example/", f"{APP} {APP}"),
    ):
        refusal = origins.refusal(sent(origin))
        assert refusal is not None
        assert repr(origin) in refusal
        assert "--allow-origin" in refusal
        assert origins.cors(sent(origin)) == {"Vary": "Origin"}


def test_programs_name_no_origin() -> None:
    assert Origins([APP]).refusal(sent(None)) is None
    assert Origins([APP]).cors(sent(None)) == {"Vary": "Origin"}


def test_an_origin_beside_one_that_may_does_not_slip_in() -> None:
    headers = sent(APP)
    headers.add("Origin", "https://evil.example")
    assert Origins([APP]).refusal(headers) is not None


@pytest.mark.parametrize(
    "own",
    [
        *("http://10.0.0.7:9000", "http://[fd00::7]:9000", "http://localhost:9000"),
        *("http://dev1.localhost:9000", "http://raspberrypi:9000", "http://raspberrypi.local"),
        *("https://signal.example", "https://peer-dev1.signal.example:8443"),
    ],
)
def test_the_origin_of_the_server_itself_may(own: str) -> None:
    host = own.partition("://")[2]
    assert Origins([APP]).refusal(sent(own, host)) is None
    assert Origins([APP]).refusal(sent(own, host.upper())) is None
    assert Origins([APP]).refusal(sent(own, "10.0.0.99:9000")) is not None
    assert Origins([APP]).refusal(sent(f"ftp://{host}", host)) is not None


@pytest.mark.parametrize("name", ["evil.example:9000", "evil.example", "1.2.3.4.evil.example"])
def test_a_name_that_was_made_to_lead_here_is_not_the_servers_own(name: str) -> None:
    # DNS rebinding: the page was loaded by that name from elsewhere, and now asks here.
    assert Origins([APP]).refusal(sent(f"http://{name}", name)) is not None
    assert Origins([APP, f"http://{name}"]).refusal(sent(f"http://{name}", name)) is None


@given(st.text(), st.text())
def test_nothing_that_is_sent_does_more_than_be_refused(origin: str, host: str) -> None:
    refused = Origins([APP]).refusal(sent(origin, host)) is not None
    assert refused is ("Access-Control-Allow-Origin" not in Origins([APP]).cors(sent(origin, host)))


@given(st.text() | st.from_regex(r"[a-z]{1,5}://[^/]{0,9}"))
def test_what_is_read_as_an_origin_is_one(text: str) -> None:
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert parse_origin(origin) == origin
    assert Origins([text]).refusal(sent(origin)) is None
