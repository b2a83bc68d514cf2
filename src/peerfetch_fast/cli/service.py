"""``peerfetch service``: a unit by which systemd keeps a program of ours running."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import click

from peerfetch_fast.cli.config import load_config

__all__ = ["service", "unit"]

CONFIG = "/etc/peerfetch/peerfetch.toml"
RENDEZVOUS_CONFIG = "/etc/peerfetch/rendezvous.toml"
"""A file of its own: in that of all commands, ``rendezvous`` names the server that they use."""

PROGRAMS = ("proxy", "forward", "signal", "rendezvous")

UNITS = Path("/etc/systemd/system")

HOMES = ("/home", "/root", "/run/user", "/tmp")  # noqa: S108 - paths that units do not see
"""Paths that a unit does not see: ``ProtectHome`` and ``PrivateTmp``."""

EXAMPLE = """\
# The options of peerfetch's commands: docs/configuration.md. A table for each command.

# A signaling server that both sides reach, for peers beyond the local network:
# signaling = "wss://signaling.example"

[proxy]
# The server that peers shall reach:
target = "http://127.0.0.1:8778"
# Where the proxy's own signaling server and page listen, where none is named above:
# listen = "0.0.0.0:9000"
# discoverable = true
"""

RENDEZVOUS_EXAMPLE = """\
# The options of a rendezvous server: docs/rendezvous.md.

[rendezvous]
# The name by which everybody reaches this machine:
domain = "meet.example.org"
# Its certificate is issued by ACME; or it is given:
# tls-certificate = "/etc/ssl/meet.pem"
# tls-key = "/etc/ssl/private/meet.key"
"""


@click.command()
@click.argument("program", type=click.Choice(PROGRAMS), default="proxy")
@click.option(
    "--config",
    "config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file of options of the service; with --install, made if it is not there. Default: "
    f"{CONFIG}, of rendezvous {RENDEZVOUS_CONFIG}.",
)
@click.option(
    "--install",
    is_flag=True,
    help="Install it, and have it run now and after each start (as root).",
)
def service(program: str, config: Path | None, install: bool) -> None:
    """Print, or install, a unit by which systemd keeps a program of ours running.

    It waits for the network, has a user of its own and sees little of this machine; systemd starts
    it anew when it ends or hangs.
    """
    if config is None:
        config = Path(RENDEZVOUS_CONFIG if program == "rendezvous" else CONFIG)
    config = config.absolute()
    command = _command()
    seen = (*map(Path, command), config)
    hidden = next((path for path in seen if any(map(path.is_relative_to, HOMES))), None)
    if hidden is not None:
        sentence = (
            f"services do not see {hidden}, which belongs to a person: install peerfetch for all "
            "(python3 -m venv /opt/peerfetch; /opt/peerfetch/bin/pip install peerfetch-fast)"
        )
        if install:
            raise click.ClickException(sentence)
        click.echo(f"peerfetch: {sentence}", err=True)
    text = unit(program, command, config)
    if install:
        _install(program, text, config)
    else:
        click.echo(text, nl=False)


def _command() -> list[str]:
    """The command by which this program was started."""
    script = shutil.which("peerfetch", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "peerfetch_fast"]


def unit(program: str, command: list[str], config: Path) -> str:
    """The unit of one of our programs."""
    text = resources.files(__package__).joinpath("peerfetch.service").read_text(encoding="utf-8")
    name = _name(program)
    values = {
        "COMMAND": shlex.join(command),
        # Ports 80 and 443 are root's: a unit that may bind them has no user namespace of its own.
        "CAPABILITIES": "CAP_NET_BIND_SERVICE" if program == "rendezvous" else "",
        "CONFIG": str(config),
        "NAME": name,
        "PRIVATEUSERS": "no" if program == "rendezvous" else "yes",
        "PROGRAM": program,
        "UNIT": f"{name}.service",
    }
    for key, value in values.items():
        # systemd would take these for a specifier, or an environment variable.
        text = text.replace(f"@{key}@", value.replace("%", "%%").replace("$", "$$"))
    return text


def _name(program: str) -> str:
    return f"peerfetch-{program}"


def _install(program: str, text: str, config: Path) -> None:
    """Write the unit and have systemd start it. Raises click.ClickException."""
    from peerfetch_fast.cli import Commands, main

    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise click.ClickException("there is no systemd here: without --install, a unit is printed")
    path = UNITS / f"{_name(program)}.service"
    try:
        if not config.exists():
            config.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            example = RENDEZVOUS_EXAMPLE if program == "rendezvous" else EXAMPLE
            config.write_text(example, encoding="utf-8")
            click.echo(f"made       {config}: say there what is to be served")
        commands = Commands(main, click.get_current_context())
        load_config(str(config)).defaults(program, commands)
        path.write_text(text, encoding="utf-8")
        click.echo(f"installed  {path}")
        _systemctl(systemctl, "daemon-reload")
        _systemctl(systemctl, "enable", path.name)
        _systemctl(systemctl, "restart", "--no-block", path.name)
    except OSError as error:
        hint = "; run it with sudo" if os.name == "posix" and os.geteuid() != 0 else ""
        raise click.ClickException(f"{error.filename}: {error.strerror}{hint}") from None
    click.echo(f"started    journalctl -u {path.name} -f tells how it does")


def _systemctl(program: str, *arguments: str) -> None:
    command = [program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise click.ClickException(
            f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}"
        )
