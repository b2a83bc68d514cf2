from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from peerfetch_fast.cli import COMMANDS, main
from peerfetch_fast.cli.access_token import access_token_option
from peerfetch_fast.cli.config import Config, _options, load_config

GROUP = main
CONTEXT = click.Context(main)
ALL = {name: command for name in COMMANDS if (command := GROUP.get_command(CONTEXT, name))}


def write(directory: Path, text: str) -> Path:
    path = directory / "peerfetch.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def load(directory: Path, text: str) -> Config:
    return load_config(str(write(directory, text)))


def run(
    directory: Path, text: str, *arguments: str, environ: dict[str, str] | None = None
) -> Result:
    path = write(directory, text)
    return CliRunner().invoke(main, ["--config", str(path), *arguments], env=environ)


def every_option() -> list[tuple[str, str, click.Parameter]]:
    return [(name, key, one) for name in ALL for key, one in _options(ALL[name]).items()]


def sample(option: click.Parameter) -> str:
    """A value of the kind that the option takes, as TOML has it."""
    if getattr(option, "is_flag", False):
        return "true"
    if isinstance(option.type, click.types.IntParamType):
        return "3"
    if isinstance(option.type, click.types.FloatParamType):
        return "2.5"
    return '["a", "b"]' if getattr(option, "multiple", False) else '"a"'


@pytest.mark.parametrize(
    ("command", "key", "option"),
    every_option(),
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_every_option_of_every_command_can_be_said(
    tmp_path: Path, command: str, key: str, option: click.Parameter
) -> None:
    found = load(tmp_path, f"[{command}]\n{key} = {sample(option)}\n").defaults(command, ALL)
    assert found.keys() == {option.name}


def test_there_are_options_of_programs_among_them() -> None:
    names = {(command, key) for command, key, _ in every_option()}
    assert {
        ("proxy", "target"),
        ("fetch", "header"),
        ("signal", "key"),
        ("demo", "size"),
        ("forward", "peer"),
    } <= names


def test_what_is_above_all_tables_is_for_every_command_that_has_it(tmp_path: Path) -> None:
    text = 'signaling = "ws://a"\nallow-discovery = true\n[proxy]\nsignaling = "ws://b"\n'
    config = load(tmp_path, text)
    assert config.defaults("fetch", ALL) == {"signaling": "ws://a"}
    assert config.defaults("proxy", ALL) == {"signaling": "ws://b"}
    assert config.defaults("signal", ALL) == {"allow_discovery": True}


def test_commands_below_commands_have_tables_below_theirs(tmp_path: Path) -> None:
    config = load(tmp_path, "[devices.rename]\nreplace = true\n")
    assert config.defaults("devices", ALL) == {"rename": {"replace": True}}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[proxy]\n\ntarget = 1\n", 3, "target: it takes a text or a list of them"),
        ("[proxy]\ntarget = [\n  'a',\n  1,\n]\n", 2, "target: it takes a text"),
        ("[proxy]\ndiscoverable = 'yes'\n", 2, "discoverable: it takes true or false"),
        ("[proxy]\nwait = 'long'\n", 2, "wait: it takes a number"),
        ("[proxy]\n# port\nprot = 1\n", 3, "prot: peerfetch proxy has no option --prot"),
        ("[proxy]\nlisten = 'x'\n[proxi]\n", 3, "proxi: there is no command proxi"),
        ("a = 1\n", 1, "a: no command has such an option"),
        ('\n"log-level" = true\n', 2, "log-level: it takes a text"),
        ("proxy.tcp = 7\n", 1, "tcp: it takes a text"),
        ("[proxy]\ntarget = 'a'\n[signal]\n[proxy.b]\nx = 1\n", 4, "b: peerfetch proxy has no"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    config = load(tmp_path, text)
    with pytest.raises(click.UsageError) as caught:
        config.defaults("proxy", ALL)
    assert f"peerfetch.toml, line {line}: " in caught.value.message
    assert says in caught.value.message


def test_a_value_that_the_option_refuses_is_told_with_its_line(tmp_path: Path) -> None:
    result = run(tmp_path, "[signal]\nmax-per-address = 0\n", "signal")
    assert result.exit_code == 2
    assert "peerfetch.toml, line 2: Invalid value for '--max-per-address'" in result.stderr
    result = run(tmp_path, "\n\nlog-level = 'loud'\n", "proxy")
    assert "peerfetch.toml, line 3: Invalid value for '--log-level'" in result.stderr


def test_the_line_is_found_in_the_largest_file_without_reading_it_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"a{number}=1\n" for number in range(7000)]
    lines.insert(3000, "nonsense=1\n")
    config = load(tmp_path, "[proxy]\n" + "".join(lines))
    read: list[int] = []
    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: read.append(len(text)) or loads(text))
    assert config.where(("proxy", "nonsense")).endswith(", line 3002")
    assert len(read) < 20


def test_what_is_wrong_for_a_command_that_an_option_is_called_as_is_told(tmp_path: Path) -> None:
    asked = ("rendezvous", "--domain", "a.example", "--tls-certificate", __file__)
    result = run(tmp_path, "rendezvous = 5\nlisten = 'nowhere'\n", *asked)
    assert result.exit_code == 2, result.output
    assert "peerfetch.toml, line 2: Invalid value for '--listen'" in result.stderr


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    result = run(tmp_path, "[proxy]\ntarget = x\n", "proxy")
    assert result.exit_code == 2
    assert "is not TOML" in result.stderr
    assert "line 2" in result.stderr


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--config", str(tmp_path / "none.toml"), "signal"])
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_options_count_most_then_the_environment_then_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    discover = ALL["discover"]
    monkeypatch.setattr(discover, "callback", lambda **options: seen.append(options))
    text = "[discover]\nsignaling = 'ws://file'\ntimeout = 2\n"
    variable = {"PEERFETCH_SIGNALING": "ws://environment"}
    option = ("--signaling", "ws://option")
    run(tmp_path, text, "discover")
    run(tmp_path, text, "discover", environ=variable)
    run(tmp_path, text, "discover", *option, environ=variable)
    hosts = [options["signaling"].rpartition("/")[2] for options in seen]
    assert hosts == ["file", "environment", "option"]
    assert [options["timeout"] for options in seen] == [2.0] * 3


def test_the_users_own_file_counts_more_than_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(ALL["discover"], "callback", lambda **options: seen.append(options))
    write(tmp_path, "[discover]\ntimeout = 60\n")
    monkeypatch.chdir(tmp_path)  # whoever made this directory chooses nothing
    own = tmp_path / "config" / "peerfetch"
    own.mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PEERFETCH_CONFIG": ""}
    CliRunner().invoke(main, ["discover"], env=environ)
    write(own, "[discover]\ntimeout = 7\n")
    CliRunner().invoke(main, ["discover"], env=environ)
    assert seen[0]["timeout"] != 60
    assert seen[1]["timeout"] == 7


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such bits")
def test_an_access_token_is_in_no_file_that_others_may_read(tmp_path: Path) -> None:
    path = write(tmp_path, "[proxy]\naccess-token = 'a secret that is long'\n")
    load_config(str(path))
    path.chmod(0o644)
    with pytest.raises(click.UsageError, match="chmod 600"):
        load_config(str(path))


def test_an_access_token_counts_from_where_it_counts_most(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the token of the file\n")
    seen: list[str | None] = []

    @click.command()
    @access_token_option
    def tell(access_token: str | None) -> None:
        seen.append(access_token)

    def ask(*arguments: str, environ: dict[str, str] | None = None) -> Result:
        defaults = {"access_token_file": str(token)}
        return CliRunner().invoke(tell, arguments, env=environ, default_map=defaults)

    ask()
    ask("--access-token", "the token of the option")
    ask(environ={"PEERFETCH_ACCESS_TOKEN": "the token of the environment"})
    sources = [(one or "").removeprefix("the token of the ") for one in seen]
    assert sources == ["file", "option", "environment"]
    both = ask("--access-token", "x" * 20, "--access-token-file", str(token))
    assert "exclude each other" in both.stderr


def test_a_service_forwards_the_peer_that_the_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(ALL["forward"], "callback", lambda **options: seen.append(options["peer"]))
    text = "[forward]\npeer = 'garage'\n"
    assert run(tmp_path, text, "forward").exit_code == 0
    assert run(tmp_path, text, "forward", "attic").exit_code == 0
    assert seen == ["garage", "attic"]
