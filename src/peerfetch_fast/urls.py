"""URLs as they come from elsewhere."""

from __future__ import annotations

from yarl import URL

__all__ = ["parse_url"]


def parse_url(text: str, *, encoded: bool = False) -> URL:
    """The URL. Raises ValueError for what is none: yarl raises IndexError for some of these, and
    for others not before it is asked for the host.
    """
    try:
        url = URL(text, encoded=encoded)
        _ = url.host, url.port
    except IndexError:
        raise ValueError(f"{text!r} is no URL") from None
    return url
