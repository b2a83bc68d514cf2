"""The file by which a command tells other programs that it can be reached, and where."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from peerfetch_fast.cli import notify
from peerfetch_fast.cli.options import F

__all__ = ["ready_file", "ready_file_option"]


def ready_file_option(content: str) -> Callable[[F], F]:
    """``--ready-file``, as the parameter ``ready_path``; ``content`` describes what it holds."""

    def forget(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None:
            # A file that a killed program left behind would be taken for this program's.
            with contextlib.suppress(OSError):
                value.unlink()
        return value

    return click.option(
        "--ready-file",
        "ready_path",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=forget,
        help=f"Write {content} and pid here, as JSON, for as long as it can be reached.",
    )


@contextlib.contextmanager
def ready_file(path: Path | None, content: Mapping[str, object]) -> Iterator[Callable[[], None]]:
    """Keep a file at ``path`` with ``content`` and our pid as JSON until the block ends.

    The block gets a function that writes the file, atomically. It is called last, because readers
    expect the program's output once the file exists. Raises click.ClickException when the file
    cannot be written.
    """
    if path is None:
        yield notify.ready
        return
    import json
    import tempfile

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    temporary = Path(name)

    def put() -> None:
        try:
            temporary.write_text(json.dumps({**content, "pid": os.getpid()}) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
        notify.ready()

    try:
        os.close(handle)
        yield put
    finally:
        for file in (temporary, path):
            with contextlib.suppress(OSError):
                file.unlink()
