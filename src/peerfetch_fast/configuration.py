"""Where ``peerfetch.toml`` is, and its one reader (docs/configuration.md)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from peerfetch_fast.errors import PeerfetchError

__all__ = [
    "MAX_CONFIGURATION",
    "Configuration",
    "configuration_file",
    "read_configuration",
    "user_configuration",
]

MAX_CONFIGURATION = 64 * 1024
"""Bytes of the largest file that is read."""

_VARIABLE = "PEERFETCH_CONFIG"

_PLACE = "peerfetch/peerfetch.toml"


def configuration_file() -> str | None:
    """The file that counts: that of ``PEERFETCH_CONFIG``, else the user's own, else the machine's.

    One in the working directory is none of them: whoever made that directory would choose what we
    do.
    """
    return next(_candidates(), None)


def _candidates() -> Iterator[str]:
    if explicit := os.environ.get(_VARIABLE):
        yield explicit
    yield from filter(os.path.isfile, (user_configuration(), f"/etc/{_PLACE}"))


def user_configuration() -> str:
    """The user's own, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{base}/{_PLACE}"


class Configuration(NamedTuple):
    """A file that was read."""

    text: str
    tables: Mapping[str, Any]
    """The same, as TOML has it."""
    mode: int
    """The file's permission bits; Windows reports meaningless ones."""


def read_configuration(path: Path) -> Configuration:
    """Read a file of options.

    Raises PeerfetchError for one that cannot be read, is too long, or is not TOML.
    """
    import tomllib  # only programs with such a file need it

    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_CONFIGURATION + 1)
    except OSError as error:
        raise PeerfetchError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_CONFIGURATION:
        raise PeerfetchError(f"{path} is larger than {MAX_CONFIGURATION} bytes")
    try:
        text = data.decode()
        return Configuration(text, tomllib.loads(text), mode)
    except UnicodeDecodeError:
        raise PeerfetchError(f"{path} is no text in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PeerfetchError(f"{path} is not TOML: {error}") from None
