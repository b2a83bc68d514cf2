"""The file that tells that a command can be reached."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from peerfetch_fast.cli.ready_file import ready_file, ready_file_option


def test_it_is_there_from_the_call_to_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    with ready_file(path, {"url": "http://127.0.0.1:1/"}) as put:
        assert not path.exists()
        put()
        content = json.loads(path.read_text())
        assert content == {"url": "http://127.0.0.1:1/", "pid": os.getpid()}
    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_the_program_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    with pytest.raises(RuntimeError), ready_file(path, {}) as put:
        put()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ready_file(None, {}) as put:
        put()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ready"
    with (
        pytest.raises(click.ClickException, match=f"cannot write {path}: No such file"),
        ready_file(path, {}),
    ):
        pass


def test_a_path_that_is_a_directory_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.mkdir()
    with (
        pytest.raises(click.ClickException, match=f"cannot write {path}: "),
        ready_file(path, {}) as put,
    ):
        put()
    assert list(tmp_path.iterdir()) == [path]


def test_the_option_removes_what_a_killed_program_left(tmp_path: Path) -> None:
    @click.command()
    @ready_file_option("the URL")
    def command(ready_path: Path | None) -> None:
        assert ready_path is not None
        click.echo(str(ready_path.exists()))

    stale = tmp_path / "ready"
    stale.write_text("{}")
    assert CliRunner().invoke(command, ["--ready-file", str(stale)]).stdout == "False\n"
