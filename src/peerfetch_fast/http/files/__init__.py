"""The files of a directory, or one, over HTTP: the handler behind ``--serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily

if TYPE_CHECKING:
    from peerfetch_fast.http.files.handler import Files

__all__ = ["Files"]

__getattr__ = lazily(__name__, {"Files": "handler"})
