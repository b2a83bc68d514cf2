"""``peerfetch config``: set what all commands and programs go by."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import click

from peerfetch_fast.configuration import user_configuration
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.finding import rendezvous_url
from peerfetch_fast.state import write_whole

__all__ = ["config"]

_SET = re.compile(r"""^[ \t]*["']?rendezvous["']?[ \t]*=.*\n?""", re.MULTILINE)


@click.group()
def config() -> None:
    """Set what all commands and programs go by.

    It stands in ~/.config/peerfetch/peerfetch.toml (docs/configuration.md).
    """


@config.command()
@click.argument("domain", required=False)
@click.option("--unset", is_flag=True, help="Do without one from now on.")
@click.pass_context
def rendezvous(ctx: click.Context, domain: str | None, unset: bool) -> None:
    """Find peers, and be found, by the rendezvous server DOMAIN.

    Without DOMAIN, say which it is.
    """
    assert ctx.parent is not None
    assert ctx.parent.parent is not None
    path = Path(ctx.parent.parent.params["config"] or user_configuration())
    text = _read(path)
    if domain is None and not unset:
        name = tomllib.loads(text).get("rendezvous")
        if not isinstance(name, str):
            raise click.ClickException(f"{path} names no rendezvous server")
        click.echo(name)
        return
    if domain is not None:
        if unset:
            raise click.UsageError("DOMAIN and --unset exclude each other")
        try:
            rendezvous_url(domain)
        except SignalingError as error:
            raise click.UsageError(str(error)) from None
    changed = _changed(text, domain, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        write_whole(path, changed.encode())
        path.chmod(mode)  # who could read it still can, and nobody else
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> str:
    """The file's contents, which every command checks to be TOML as it begins."""
    if path.exists() and not path.is_file():
        raise click.ClickException(f"{path} is no file: unset PEERFETCH_CONFIG")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from None


def _changed(text: str, domain: str | None, path: Path) -> str:
    """The text with another rendezvous server, and all else as it was."""
    before = tomllib.loads(text)
    if isinstance(before.get("rendezvous"), dict):
        raise click.ClickException(
            f"{path} has a table [rendezvous], of a server's own options: name the server that "
            "this machine uses by PEERFETCH_RENDEZVOUS"
        )
    line = "" if domain is None else f'rendezvous = "{domain.lower()}"\n'
    # Above all tables, where the key is the file's own.
    changed = _SET.sub(line, text, count=1) if "rendezvous" in before else line + text
    wanted = {key: value for key, value in before.items() if key != "rendezvous"}
    if domain is not None:
        wanted["rendezvous"] = domain.lower()
    if tomllib.loads(changed) != wanted:
        raise click.ClickException(f"{path} is written in a way that only you can change: do so")
    return changed
