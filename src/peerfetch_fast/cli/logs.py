"""The commands' log on standard error: text, or a JSON object on each line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

__all__ = ["F", "log_level_option", "say"]

F = TypeVar("F", bound=Callable[..., Any])

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

OURS = "peerfetch"
"""The keys that stand in JSON for lines of text with these beginnings."""


class _JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message"}``, and ``traceback`` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _is_json() -> bool:
    return any(isinstance(one.formatter, _JsonFormatter) for one in logging.getLogger().handlers)


def say(text: str, level: int = logging.INFO) -> None:
    """Tell the user, whatever ``--log-level`` is: a sentence on standard error, in
    JSON where logs are.
    """
    if _is_json():
        text = text.removeprefix(f"{OURS}: ")
        text = _JsonFormatter().format(logging.LogRecord(OURS, level, "", 0, text, None, None))
    click.echo(text, err=True)


def _set_format(ctx: click.Context, param: click.Parameter, value: str) -> None:
    logging.basicConfig(format=TEXT)
    formatter = _JsonFormatter() if value == "json" else logging.Formatter(TEXT)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


def _set_level(ctx: click.Context, param: click.Parameter, value: str) -> None:
    logging.getLogger().setLevel(value.upper())
    # These log every packet and check, which would drown our own lines.
    for noisy in ("aioice", "aiortc", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


def log_level_option(command: F) -> F:
    """``--log-level`` and ``--log-format``: set up logging to standard error."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="warning",
        show_default=True,
        expose_value=False,
        callback=_set_level,
        help="What is told on standard error.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        expose_value=False,
        # Errors in other options are told in this form, too.
        is_eager=True,
        callback=_set_format,
        help="How it is told: json is an object on each line.",
    )
    return level(form(command))
