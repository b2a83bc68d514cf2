"""The link of a device and its QR code."""

from __future__ import annotations

from peerfetch_fast.web.page_link import page_url, qr_code


def test_the_page_of_a_signaling_server() -> None:
    assert page_url("ws://127.0.0.1:9000") == "http://127.0.0.1:9000/"
    assert page_url("wss://example.com", "id#sha256:0a") == "https://example.com/#id#sha256:0a"


def test_the_code_is_square_and_fits_a_terminal() -> None:
    lines = qr_code(page_url("ws://192.168.1.20:9000", f"{'a' * 32}#sha256:{'b' * 64}")).split("\n")
    widths = {len(line) for line in lines if line}
    assert len(widths) == 1
    (width,) = widths
    # Each line of text is two of the code.
    assert width <= 80
    assert len([line for line in lines if line]) == (width + 1) // 2
