"""Sharing files: what is offered, sent and kept (docs/sharing.md)."""
