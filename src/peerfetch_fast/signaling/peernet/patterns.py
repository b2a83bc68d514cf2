"""What the names and ids of PeerNet match: regular expressions."""

from __future__ import annotations

__all__ = ["PROTOCOL", "ROOM_ID", "SERVER_ID", "SERVICE_VERSION", "SESSION_ID"]

SESSION_ID = r"[A-Za-z0-9_-]{22,128}"
ROOM_ID = r"[a-z0-9-]{1,64}"
SERVER_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
PROTOCOL = r"[a-z0-9][a-z0-9.-]{0,63}"
SERVICE_VERSION = r"[A-Za-z0-9.+-]{0,32}"
