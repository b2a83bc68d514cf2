"""Files that others have sent, as they are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peerfetch_fast.cli.receivers import size_of
from peerfetch_fast.sharing.names import shown

if TYPE_CHECKING:
    from peerfetch_fast.sharing.inbox import Arrived

__all__ = ["tell_arrived"]


def tell_arrived(arrived: Arrived) -> None:
    """Print a line about a file that is whole."""
    click.echo(f"✓ {shown(arrived.name)} ({size_of(arrived.size)}) from {arrived.sender}")
