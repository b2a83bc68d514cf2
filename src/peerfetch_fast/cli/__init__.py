"""The command ``peerfetch``."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from importlib import import_module
from typing import Any

import click

from peerfetch_fast._version import __version__

__all__ = ["main"]

COMMANDS = {
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
    "pair": (
        "discover",
        "Keep a device under a NAME, for peerfetch fetch peer://NAME/… and peerfetch forward NAME.",
    ),
    "proxy": (
        "proxy",
        "Make an HTTP server, files, or TCP ports on this device reachable for peers.",
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
"""Of each command the module, and how its help begins."""


# What standard output may say to what is printed there.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

INTERRUPTED = 130
"""What a command ends with that Ctrl-C ends."""


class _Group(click.Group):
    """Imports a command when that is run, or its own help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # A first sentence, however narrow the terminal is.
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
        # What is imported stays: to look for garbage in it takes a tenth of a fetch. `run` begins.
        gc.disable()
        _open_standard_descriptors()
        try:
            sys.exit(self._ended(*args, **kwargs))
        finally:
            gc.enable()

    def _ended(self, *args: Any, **kwargs: Any) -> int:
        """Run; say in the same form what went wrong, whatever did. Returns the exit code."""
        try:
            ended: Any = super().main(*args, **kwargs | {"standalone_mode": False})
            return ended if isinstance(ended, int) else 0
        except click.ClickException as error:
            text = error.format_message()
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
            # Python would try once more as it ends, and show a traceback.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 23


def _open_standard_descriptors() -> None:
    """Put /dev/null where 0, 1 or 2 was closed: whatever is opened next would take its place, be
    written to as the output, and have libuv abort the process in the end.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # gets the lowest number that is free: this one
                os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # who cannot be told is not told
        click.echo(f"peerfetch: {text}", err=True)


@click.group(None, _Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """HTTP over WebRTC data channels, straight to a small device behind a home router."""
