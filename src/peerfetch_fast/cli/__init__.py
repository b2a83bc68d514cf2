"""The command ``peerfetch``."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from peerfetch_fast._version import __version__
from peerfetch_fast.configuration import configuration_file

__all__ = ["Commands", "main"]

COMMANDS = {
    "config": (
        "configure",
        "Set what all commands and programs go by.",
    ),
    "demo": (
        "demo",
        "Run signaling, an HTTP server, the proxy and a client here, and check every byte.",
    ),
    "devices": (
        "devices",
        "List the devices that are paired and known; rename and remove them.",
    ),
    "discover": (
        "discover",
        "List the devices that let themselves be found (peerfetch proxy --discoverable).",
    ),
    "fetch": ("fetch", "Fetch from a peer."),
    "forward": (
        "forward",
        "Make a peer a local HTTP server, for curl, VLC, browsers and whatever else speaks HTTP.",
    ),
    "get": (
        "get",
        "Receive what somebody shares with `peerfetch share`, or on the page.",
    ),
    "inbox": (
        "inbox",
        "Let others send files into DIRECTORY, of which they see nothing.",
    ),
    "invite": (
        "people",
        "Let somebody in by NAME: show a code that they type, and wait until they have.",
    ),
    "pair": (
        "discover",
        "Keep a device under a NAME, for peerfetch fetch peer://NAME/… and peerfetch forward NAME.",
    ),
    "people": (
        "people",
        "List the people whom this device has let in; rename, limit and revoke them.",
    ),
    "proxy": (
        "proxy",
        "Make an HTTP server, files, or TCP ports on this device reachable for peers.",
    ),
    "service": (
        "service",
        "Print, or install, a unit by which systemd keeps a program of ours running.",
    ),
    "rendezvous": (
        "rendezvous",
        "Run a server for everybody: signaling, the page by HTTPS, and relays.",
    ),
    "share": (
        "share",
        "Share files and folders, standard input (-), or a text.",
    ),
    "signal": (
        "signal",
        "Run a PeerJS-compatible signaling server, and the page for browsers.",
    ),
    "status": (
        "status",
        "Show who is connected to the proxies and forwards that run here, and how.",
    ),
}
"""For each command, its module and the first sentence of its help."""


# Errors of writing to standard output.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended."""


class _Group(click.Group):
    """Imports a command only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        path = None if ctx.resilient_parsing else _config_path(ctx.params["config"])
        if name is not None and path is not None:
            from peerfetch_fast.cli.config import load_config

            ctx.obj = load_config(path)
            ctx.default_map = {name: ctx.obj.defaults(name, Commands(self, ctx))}
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The whole first sentence, even on a narrow terminal.
        rows = [
            (name, click.Command(name, help=about).get_short_help_str(len(about)))
            for name, (_, about) in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from peerfetch_fast.cli.exit_codes import MEANINGS

        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in MEANINGS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Imported modules are no garbage, and scanning them takes a tenth of a fetch. `run` enables
        # the collector.
        gc.disable()
        _open_standard_descriptors()
        try:
            sys.exit(self._ended(*args, **kwargs))
        finally:
            gc.enable()

    def _ended(self, *args: Any, **kwargs: Any) -> int:
        """Run a command, print any error in the same form, and return the exit code."""
        try:
            ended: Any = super().main(*args, **kwargs | {"standalone_mode": False})
            return ended if isinstance(ended, int) else 0
        except click.ClickException as error:
            text = _from_file(error) + error.format_message()
            if isinstance(error, click.UsageError) and error.ctx is not None:
                text = f"{text.rstrip('.')} (see {error.ctx.command_path} --help)"
            _say(text)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            _say("interrupted")
            return INTERRUPTED
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            _say(error.strerror or str(error))
            # Python would flush once more at exit, and print a traceback.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 23


class Commands(Mapping[str, click.Command]):
    """All commands; each is imported when it is looked up."""

    def __init__(self, group: click.Group, ctx: click.Context) -> None:
        self._group = group
        self._ctx = ctx

    def __getitem__(self, name: str) -> click.Command:
        command = self._group.get_command(self._ctx, name)
        if command is None:
            raise KeyError(name)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS


def _config_path(explicit: str | None) -> str | None:
    """The file of ``--config``, else the one that counts for programs too."""
    return configuration_file() if explicit is None else explicit


def _from_file(error: click.ClickException) -> str:
    """File and line, where a value from there is wrong; "" otherwise."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    source = error.ctx.get_parameter_source(error.param.name or "")
    if source != ParameterSource.DEFAULT_MAP:
        return ""
    path: list[str] = []
    ctx = error.ctx
    while ctx.parent is not None:
        path.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return f"{ctx.obj.where_from(tuple(path), error.param)}: "


def _open_standard_descriptors() -> None:
    """Open /dev/null in place of a closed descriptor 0, 1 or 2. Otherwise the next file or socket
    would take that number and be written to as the output, and libuv would abort at exit.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # gets the lowest free number, which is this one
                os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _say(text: str) -> None:
    import logging

    from peerfetch_fast.cli.logs import say

    with contextlib.suppress(OSError):  # standard error may be closed
        say(f"peerfetch: {text}", logging.ERROR)


@click.group(None, _Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option(
    "--config",
    envvar="PEERFETCH_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="A file of options (docs/configuration.md). Default: ~/.config/peerfetch/peerfetch.toml, "
    "or /etc/peerfetch/peerfetch.toml.",
)
def main(config: str | None) -> None:
    """HTTP over WebRTC data channels, straight to a small device behind a home router."""
