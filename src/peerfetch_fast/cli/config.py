"""``peerfetch.toml``: the options of all commands in a file.

A table for each command holds its options by their long names, without dashes, and its arguments by
theirs. A key above all tables is for every command that has such an option.
"""

from __future__ import annotations

import bisect
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.configuration import read_configuration
from peerfetch_fast.errors import PeerfetchError

__all__ = ["Config", "load_config"]

SECRET = "access-token"  # noqa: S105 - its name
"""The option whose value other users of this machine must not read."""


class Config:
    """The options in a file. Made by :func:`load_config`."""

    def __init__(self, path: Path, text: str, tables: Mapping[str, Any]) -> None:
        self.path = path
        self._text = text
        self._tables = tables

    def defaults(self, name: str, commands: Mapping[str, click.Command]) -> dict[str, Any]:
        """The file's options for the command of that name, by parameter, as click's
        ``default_map``; for commands below it, tables by their names.

        Raises click.UsageError, with the line, for an option that no command has, and for a value
        of another kind than the option takes. The option itself checks the value.

        :param commands: all there are; only those that are needed are looked up.
        """
        found: dict[str, Any] = {}
        table = {}
        for key, value in self._tables.items():
            if not isinstance(value, dict):
                if key in _options(commands[name]):
                    found |= self._default((key,), commands[name], value)
                elif not any(key in _options(commands[other]) for other in commands):
                    self._refuse((key,), "no command has such an option")
            elif key not in commands:
                self._refuse((key,), f"there is no command {key}")
            elif key == name:
                table = value
        return found | self._of_table((name,), commands[name], table)

    def _of_table(
        self, keys: tuple[str, ...], command: click.Command, table: Mapping[str, Any]
    ) -> dict[str, Any]:
        below = command.commands if isinstance(command, click.Group) else {}
        found: dict[str, Any] = {}
        for key, value in table.items():
            if key in below and isinstance(value, dict):
                found[key] = self._of_table((*keys, key), below[key], value)
            else:
                found |= self._default((*keys, key), command, value)
        return found

    def _default(self, keys: tuple[str, ...], command: click.Command, value: Any) -> dict[str, Any]:
        options = _options(command)
        if keys[-1] not in options:
            self._refuse(keys, f"peerfetch {command.name} has no option --{keys[-1]}")
        option = options[keys[-1]]
        is_list = getattr(option, "multiple", False) or option.nargs != 1
        if is_list and not isinstance(value, list):
            value = [value]
        values = value if is_list else [value]
        if wanted := _wanted(option, values):
            several = " or a list of them" if is_list else ""
            self._refuse(keys, f"it takes {wanted}{several}")
        assert option.name is not None
        return {option.name: value}

    def where(self, keys: tuple[str, ...]) -> str:
        """File and line of the value at ``keys``."""
        return f"{self.path}, line {_line(self._text, keys)}"

    def where_from(self, commands: tuple[str, ...], option: click.Parameter) -> str:
        """File and line where an option of a command is set; the command may be below others."""
        table: Any = self._tables
        for command in commands:
            table = table.get(command)
            if not isinstance(table, dict):  # an option may have the name of the command
                table = {}
        for name in (name.removeprefix("--") for name in option.opts):
            if name in table:
                return self.where((*commands, name))
            if name in self._tables:
                return self.where((name,))
        return str(self.path)

    def _refuse(self, keys: tuple[str, ...], why: str) -> None:
        raise click.UsageError(f"{self.where(keys)}: {keys[-1]}: {why}")

    @property
    def holds_secret(self) -> bool:
        """Whether there is an access token in it."""
        tables = [self._tables, *(one for one in self._tables.values() if isinstance(one, dict))]
        return any(SECRET in table for table in tables)


def _options(command: click.Command) -> dict[str, click.Parameter]:
    """The options that a file can hold, by their long names; and the arguments, by theirs."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        if not (option.is_eager and _is_flag(option))
        for name in option.opts
        if name.startswith("--") or isinstance(option, click.Argument)
    }


def _is_flag(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and option.is_flag


def _wanted(option: click.Parameter, values: list[Any]) -> str | None:
    """The kind of value that the option takes, if ``values`` are of another; else None."""
    kinds: tuple[type, ...]
    if _is_flag(option):
        kinds, wanted = (bool,), "true or false"
    elif isinstance(option.type, click.types.IntParamType):
        kinds, wanted = (int,), "a whole number"
    elif isinstance(option.type, click.types.FloatParamType):
        kinds, wanted = (int, float), "a number"
    else:
        kinds, wanted = (str,), "a text"
    # Python takes bool for a kind of int.
    fits = (isinstance(v, kinds) and (bool in kinds or not isinstance(v, bool)) for v in values)
    return None if all(fits) else wanted


def _line(text: str, keys: tuple[str, ...]) -> int:
    """The line on which the value at ``keys`` begins."""
    lines = text.splitlines(keepends=True)

    def is_there(line: int) -> bool:
        """Whether the value is in the text up to that line, and on to the end of a value there."""
        for end in range(line, len(lines) + 1):
            try:
                found: Any = tomllib.loads("".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a value
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
            return found is not None
        return True

    return 1 + bisect.bisect_left(range(1, len(lines) + 1), True, key=is_there)


def load_config(name: str) -> Config:
    """Read a file. Raises click.UsageError for one that cannot be read, or is no TOML."""
    path = Path(name)
    try:
        text, tables, mode = read_configuration(path)
    except PeerfetchError as error:
        raise click.UsageError(str(error)) from None
    config = Config(path, text, tables)
    if config.holds_secret and os.name == "posix" and mode & 0o044:
        raise click.UsageError(
            f"{path} holds an access token and may be read by others: run 'chmod 600 {path}', or "
            "name a file with access-token-file"
        )
    return config
