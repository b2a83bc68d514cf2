"""The hub of a node."""

from __future__ import annotations

from peerfetch_fast.signaling.smoke.client import HubClient as NetworkHub

__all__ = ["NetworkHub"]
