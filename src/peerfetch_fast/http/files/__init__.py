"""The files of a directory over HTTP: the handler behind ``--serve``."""

from peerfetch_fast.http.files.handler import Files

__all__ = ["Files"]
