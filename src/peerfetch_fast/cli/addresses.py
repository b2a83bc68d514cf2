"""Addresses that commands listen on, and ports that they cannot have."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

__all__ = ["ListenAddress", "port_in_words"]


class ListenAddress(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``, with an IPv6 address in brackets."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        try:
            parts = urlsplit(f"//{value}")
            if parts.hostname and parts.port is not None and not parts.path:
                return parts.hostname, parts.port
        except ValueError:
            pass
        return self.fail(
            f"{value!r} is no address to listen on: write HOST:PORT, as in 0.0.0.0:9000"
        )


@contextlib.contextmanager
def port_in_words(port: int, option: str) -> Iterator[None]:
    """Turn an error of listening on ``port`` into a click.ClickException that names ``option``."""
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        why = {errno.EADDRINUSE: "another program has it", errno.EACCES: "only root may"}.get(
            code, os.strerror(code) if code else str(error)
        )
        raise click.ClickException(
            f"cannot listen on port {port} of 127.0.0.1: {why}; choose another with {option}"
        ) from None
