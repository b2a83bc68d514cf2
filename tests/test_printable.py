from __future__ import annotations

from peerfetch_fast.printable import printable


def test_what_a_terminal_would_obey_is_shown_as_an_escape() -> None:
    assert printable("Grüße, 世界") == "Grüße, 世界"
    assert printable("a\x1b[2J\r\n\u202eb") == r"a\x1b[2J\r\n\u202eb"
    assert printable("\x1b" * 10, 6) == r"\x1b\x"
