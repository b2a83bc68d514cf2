"""The command ``peerfetch``."""

import click

from peerfetch_fast.cli.demo import demo
from peerfetch_fast.cli.discover import discover, pair
from peerfetch_fast.cli.fetch import fetch
from peerfetch_fast.cli.forward import forward
from peerfetch_fast.cli.proxy import proxy
from peerfetch_fast.cli.signal import signal

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="peerfetch-fast")
def main() -> None:
    """HTTP over WebRTC data channels, straight to a small device behind a home router."""


for command in (demo, discover, fetch, forward, pair, proxy, signal):
    main.add_command(command)
