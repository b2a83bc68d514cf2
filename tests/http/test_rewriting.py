from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from peerfetch_fast.http.rewriting import Rewriting, forwarded_headers, is_claim

HERE = "http://127.0.0.1:8081"


def rewritten(value: str, *, name: str = "location", url: str = HERE, prefix: str = "/cam") -> str:
    return Rewriting(URL(url)).header(name, value, prefix)


@pytest.mark.parametrize("name", ["location", "content-location"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{HERE}/a?b#c", "/cam/a?b#c"),
        (HERE, "/cam/"),
        (f"{HERE}?b", "/cam/?b"),
        ("HTTP://127.0.0.1:8081/a", "/cam/a"),
        ("//127.0.0.1:8081/a", "/cam/a"),
        ("/a", "/cam/a"),
        ("/", "/cam/"),
        ("/cam/a", "/cam/cam/a"),
        # Relative to what was asked for, and elsewhere.
        ("a", "a"),
        ("./a/", "./a/"),
        ("?x=/y", "?x=/y"),
        ("", ""),
        ("http://127.0.0.1:8082/a", "http://127.0.0.1:8082/a"),
        ("https://127.0.0.1:8081/a", "https://127.0.0.1:8081/a"),
        ("http://127.0.0.1:8081.evil.example/a", "http://127.0.0.1:8081.evil.example/a"),
        ("http://127.0.0.1:8081@evil.example/a", "http://127.0.0.1:8081@evil.example/a"),
        ("http://127.0.0.1:8081\\@evil.example/", "http://127.0.0.1:8081\\@evil.example/"),
        ("http://[/", "http://[/"),
        ("http://127.0.0.1:x/", "http://127.0.0.1:x/"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_references_to_the_upstream_lead_through_the_prefix(
    name: str, value: str, expected: str
) -> None:
    assert rewritten(value, name=name) == expected


@pytest.mark.parametrize(
    ("url", "value", "expected"),
    [
        ("http://x/base", "/base/a", "/cam/a"),
        ("http://x/base/", "http://x/base?q", "/cam?q"),
        ("http://x/base", "http://x:80/base/", "/cam/"),
        ("http://x/base", "/based/a", "/based/a"),
        ("http://x/base", "http://x/other", "http://x/other"),
        ("https://X", "https://x:443/a", "/cam/a"),
        ("http://user:secret@x:8080", "http://x:8080/a", "/cam/a"),
        ("http://[::1]:8080", "http://[::1]:8080/a", "/cam/a"),
    ],
)
def test_upstreams_with_a_path(url: str, value: str, expected: str) -> None:
    assert rewritten(value, url=url) == expected


def test_without_a_prefix_a_path_never_becomes_a_host() -> None:
    assert rewritten(f"{HERE}/a", prefix="") == "/a"
    assert rewritten(HERE, prefix="") == "/"
    assert rewritten("/a", prefix="") == "/a"
    # What looks like a host must not become one.
    assert rewritten(f"{HERE}//evil.example/a", prefix="") == "/.//evil.example/a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"5; url={HERE}/a", "5; url=/cam/a"),
        ("0;URL='/a'", "0;URL='/cam/a'"),
        (' 0.5 , url = "/a" ', ' 0.5 , url = "/cam/a" '),
        ("0;url=/a'", "0;url=/cam/a'"),
        ("0;url='/a", "0;url='/a"),
        ("0;url='", "0;url='"),
        ("0;url=''", "0;url=''"),
        ("0;url= ", "0;url= "),
        ("5", "5"),
        ("5; url=http://example.org/", "5; url=http://example.org/"),
        ("nonsense", "nonsense"),
    ],
)
def test_refresh_leads_through_the_prefix(value: str, expected: str) -> None:
    assert rewritten(value, name="refresh") == expected


@pytest.mark.parametrize(
    ("url", "value", "expected"),
    [
        (HERE, "a=1", "a=1"),
        (HERE, "a=1; Path=/", "a=1; Path=/cam/"),
        (HERE, "a=1; path=/x; HttpOnly", "a=1; Path=/cam/x; HttpOnly"),
        (HERE, "a=1;Domain=example.org;Secure", "a=1;Secure"),
        (HERE, "a=Path=/x; SameSite=Lax", "a=Path=/x; SameSite=Lax"),
        (HERE, "__Host-a=1; Secure; Path=/", "__Host-a=1; Secure; Path=/"),
        ("http://x/base", "a=1; Path=/base/y", "a=1; Path=/cam/y"),
        ("http://x/base", "a=1; Path=/base", "a=1; Path=/cam"),
        ("http://x/base", "a=1; Path=/", "a=1; Path=/cam"),
        ("http://x/base", "a=1; Path=/other", "a=1; Path=/other"),
    ],
)
def test_cookies_get_the_prefix_and_lose_the_domain(url: str, value: str, expected: str) -> None:
    assert rewritten(value, name="set-cookie", url=url) == expected


def test_cookies_without_a_prefix() -> None:
    for value in ("a=1; Path=/", "a=1; Path=/x"):
        assert rewritten(value, name="set-cookie", prefix="") == value


def test_other_headers_are_left_alone() -> None:
    assert rewritten(f"<{HERE}/a>; rel=next", name="link") == f"<{HERE}/a>; rel=next"


@given(
    st.sampled_from(["location", "refresh", "set-cookie"]),
    st.text() | st.text("htp:/.@\\?#[]127081a;=%'\"", max_size=30),
)
def test_no_location_leads_out_of_the_prefix(name: str, value: str) -> None:
    result = rewritten(value, name=name)
    if name == "location" and result != value:
        assert result.startswith("/cam")
    bare = rewritten(value, name=name, prefix="")
    if name == "location" and bare != value:
        assert bare.startswith("/")
        assert not bare.startswith("//")


def test_upstreams_are_told_the_client_in_safe_characters() -> None:
    assert forwarded_headers("1f-a_", "my-device", "/cam") == [
        ("forwarded", "for=_1f-a_;host=my-device;proto=peer"),
        ("x-forwarded-prefix", "/cam"),
    ]
    assert forwarded_headers('a b"\r\n;for=127.0.0.1', "x y", "") == [
        ("forwarded", "for=_a-b----for-127.0.0.1;host=x-y;proto=peer")
    ]


def test_fields_that_claim_an_origin_are_known_as_such() -> None:
    assert ("x-peerfetch-person", "anna") in forwarded_headers("a", "b", person="anna")
    for name in (
        *("forwarded", "x-forwarded-for", "x-forwarded-prefix", "x-real-ip"),
        "x-peerfetch-person",
        *("x_forwarded_for", "x-real_ip"),  # variables of CGI have no "-" (RFC 3875 §4.1.18)
    ):
        assert is_claim(name)
    assert not is_claim("x-requested-with")
