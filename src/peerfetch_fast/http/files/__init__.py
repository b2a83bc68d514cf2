"""The files of a directory, or one, over HTTP: the handler behind ``--serve``."""

from peerfetch_fast.http.files.handler import Files

__all__ = ["Files"]
