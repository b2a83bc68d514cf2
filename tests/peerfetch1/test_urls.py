"""Which URLs of old clients are served, and which lead elsewhere."""

from __future__ import annotations

import pytest

from peerfetch_fast.errors import MessageError
from peerfetch_fast.peerfetch1.urls import locate, locate_here

DEVICE = {
    "http://127.0.0.1:8778": "/",
    "http://camera.lan/base/": "/",
    "http://127.0.0.1:8081": "/cam",
}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://localhost:8778/api/x?y=z", "/http://localhost:8778/api/x?y=z"),
        ("http://127.0.0.1:1/a b", "/http://localhost:1/a%20b"),
        ("HTTPS://[::1]", "/https://localhost:443/"),
        ("http://localhost", "/http://localhost:80/"),
        ("http://camera.lan/", None),
        ("http://localhost@camera.lan/", None),
        ("http://me:secret@localhost/", None),
        ("http://192.168.0.1:8778/", None),
        ("/api", None),
    ],
)
def test_urls_of_this_device_are_served_on_any_port(url: str, target: str | None) -> None:
    assert locate_here(url) == target


def test_urls_that_are_none_are_none_here_either() -> None:
    for url in ("ftp://localhost/", "http://localhost:99999/", "api"):
        with pytest.raises(MessageError):
            locate_here(url)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://localhost:8778/api/x?y=z", "/api/x?y=z"),
        ("http://127.0.0.1:8778/", "/"),
        ("http://127.0.0.1:8778", "/"),
        ("HTTP://LOCALHOST:8778/A", "/A"),
        ("http://[::1]:8778/a", "/a"),
        ("http://camera.lan/base", "/"),
        ("http://camera.lan:80/base/x", "/x"),
        ("http://camera.lan/base?q", "/?q"),
        ("http://localhost:8081/x?y", "/cam/x?y"),
        ("http://localhost:8081", "/cam/"),
        ("/a?b", "/a?b"),
        ("/a b/ü#fragment", "/a%20b/%C3%BC"),
        ("http://localhost:8778/a b", "/a%20b"),
    ],
)
def test_absolute_urls_of_this_device_are_served(url: str, target: str) -> None:
    assert locate(url, DEVICE) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://localhost:8779/",
        "http://localhost/",
        "https://localhost:8778/",
        "http://localhost.example.org:8778/",
        "http://localhost:8778@example.org/",
        "http://user@localhost:8778/",
        "http://camera.lan/",
        "http://camera.lan/basement",
        "http://camera.lan/x/base",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:8778/",
    ],
)
def test_urls_that_lead_elsewhere_are_not_located(url: str) -> None:
    assert locate(url, DEVICE) is None


@pytest.mark.parametrize(
    "url",
    [
        "a",
        "//example.org/",
        "ftp://localhost:8778/",
        "file:///etc/passwd",
        "http://",
        "http://[",
        "http://localhost:x/",
        "http://localhost:99999/",
        "\\\\host",
        "javascript:alert(1)",
    ],
)
def test_text_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(MessageError):
        locate(url, DEVICE)


def test_where_there_is_no_upstream_the_device_itself_is_meant() -> None:
    assert locate("http://localhost:8778/x?y", {}) == "/x?y"
    assert locate("http://example.org/x", {}) is None
    assert locate("http://u@localhost/x", {}) is None
