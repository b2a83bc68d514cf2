"""``asyncio.timeout``, which Python has since 3.11.

``asyncio.wait_for`` is not used here: before Python 3.12 it loses a cancellation that comes
together with its result, and whoever cancelled then waits for ever.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout  # type: ignore[import-not-found,unused-ignore]

__all__ = ["timeout"]
