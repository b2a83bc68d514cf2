"""Marks of tests that need a browser."""

from __future__ import annotations

import pytest
from tests.interop.chromium import find_chromium
from tests.interop.firefox import find_firefox

needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
)
needs_firefox = pytest.mark.skipif(
    find_firefox() is None, reason="there is no Firefox (Debian: apt install firefox-esr)"
)
