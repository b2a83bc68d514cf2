"""The strict event loop of the WebRTC tests, and the native transport."""

from __future__ import annotations

from tests.webrtc.conftest import pc, run

__all__ = ["pc", "run"]
