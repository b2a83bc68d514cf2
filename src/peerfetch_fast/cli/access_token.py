"""The access token, from the command line, the environment or a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli.options import F, counts_more, first_line
from peerfetch_fast.errors import InvalidAccessToken
from peerfetch_fast.streams.access import MAX_TOKEN, token_key

__all__ = ["access_token_option"]


def access_token_option(command: F) -> F:
    """``--access-token`` and ``--access-token-file``, as the parameter ``access_token``."""

    @click.option(
        "--access-token",
        envvar="PEERFETCH_ACCESS_TOKEN",
        show_envvar=True,
        metavar="TOKEN",
        help="What both sides must know. None by default. On the command line, other users of this "
        "machine can see it.",
    )
    @click.option(
        "--access-token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file whose first line is the access token.",
    )
    @functools.wraps(command)
    def with_token(
        *arguments: Any, access_token: str | None, access_token_file: Path | None, **options: Any
    ) -> Any:
        if access_token_file is not None and not counts_more("access_token", "access_token_file"):
            access_token = first_line(access_token_file, "the access token", MAX_TOKEN)
        if access_token is not None:
            try:
                token_key(access_token)
            except InvalidAccessToken as error:
                raise click.UsageError(str(error)) from None
        return command(*arguments, access_token=access_token, **options)

    return with_token  # type: ignore[return-value]
