"""``peerfetch`` itself: its help, which imports no command, and output that cannot be written."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import peerfetch_fast.cli
from peerfetch_fast._version import __version__
from peerfetch_fast.cli import COMMANDS, main

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_does(name: str) -> None:
    module, about = COMMANDS[name]
    command = getattr(import_module(f"peerfetch_fast.cli.{module}"), name)
    listed = click.Command(name, help=about)
    for room in (30, 45, 60, 1000):
        assert listed.get_short_help_str(room) == command.get_short_help_str(room)


def test_every_command_is_listed() -> None:
    found = set()
    for file in Path(peerfetch_fast.cli.__file__).parent.glob("*.py"):
        module = import_module(f"peerfetch_fast.cli.{file.stem}") if file.stem[0] != "_" else main
        commands = [value for value in vars(module).values() if isinstance(value, click.Command)]
        # Those of a group are listed in its own help.
        below = {name for one in commands if isinstance(one, click.Group) for name in one.commands}
        found |= {
            one.name
            for one in commands
            if one.callback.__module__ == module.__name__ and one.name not in below
        }
    assert found - {"main"} == set(COMMANDS)


def test_help_lists_the_commands_and_version_is_printed() -> None:
    runner = CliRunner()
    shown = runner.invoke(main, ["-h"]).output
    assert all(f"\n  {name}" in shown for name in COMMANDS)
    assert runner.invoke(main, ["--version"]).output == f"main, version {__version__}\n"
    assert runner.invoke(main, ["fetsh"]).exit_code == 2
    assert "Fetch from a peer." in runner.invoke(main, ["fetch", "--help"]).output


@full
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fetch", "--help"]])
def test_a_full_disk_is_told_in_one_sentence(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "peerfetch_fast", *arguments],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == "peerfetch: No space left on device\n"
    assert done.returncode == 23
