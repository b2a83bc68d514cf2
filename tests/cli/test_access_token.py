"""Where the access token of a command comes from."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from peerfetch_fast.cli.access_token import access_token_option
from peerfetch_fast.streams.access import MAX_TOKEN


@click.command()
@access_token_option
def command(access_token: str | None) -> None:
    click.echo(repr(access_token))


def run(*arguments: object, environment: str | None = None) -> Result:
    variables = {"PEERFETCH_ACCESS_TOKEN": environment}
    return CliRunner().invoke(command, [str(one) for one in arguments], env=variables)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("from the file\r\nsecond line\n")
    return path


def test_without_any_there_is_none() -> None:
    assert run().stdout == "None\n"


def test_the_first_line_of_a_file_is_the_token(file: Path) -> None:
    assert run("--access-token-file", file).stdout == "'from the file'\n"


def test_the_command_line_counts_before_the_environment() -> None:
    assert run(environment="from outside").stdout == "'from outside'\n"
    assert run("--access-token", "given", environment="from outside").stdout == "'given'\n"


def test_a_file_counts_before_the_environment(file: Path) -> None:
    result = run("--access-token-file", file, environment="from outside")
    assert result.stdout == "'from the file'\n"


def test_a_token_and_a_file_exclude_each_other(file: Path) -> None:
    result = run("--access-token", "given", "--access-token-file", file)
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "it is no text"),
        (b"", "empty"),
        (b"\nsecond line", "empty"),
        (b"x" * (MAX_TOKEN + 1), str(MAX_TOKEN)),
    ],
    ids=["missing", "binary", "empty", "an empty line", "too long"],
)
def test_a_file_without_a_token_is_refused(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    result = run("--access-token-file", path)
    assert result.exit_code == 2
    assert says in result.stderr
