"""What ``peerfetch config`` writes, and what goes by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from peerfetch_fast.cli import main
from peerfetch_fast.finding import find_peer, find_signaling


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("PEERFETCH_CONFIG", "PEERFETCH_RENDEZVOUS", "PEERFETCH_SIGNALING"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "config/peerfetch/peerfetch.toml"


def config(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", "rendezvous", *arguments])


def test_what_is_set_once_is_what_programs_use(path: Path) -> None:
    assert config().exit_code == 1
    done = config("Meet.example.org")
    assert done.exit_code == 0, done.stderr
    assert path.read_text() == 'rendezvous = "meet.example.org"\n'
    assert config().stdout == "meet.example.org\n"
    assert find_signaling(None) == "wss://meet.example.org"
    assert find_peer("peer://someone", None)[1] == "wss://meet.example.org"
    assert config("--unset").exit_code == 0
    assert path.read_text() == ""
    assert find_signaling(None).startswith("ws://127.0.0.1")


def test_what_else_the_file_says_stays_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    named = 'rendezvous = "old.example" # for now'
    text = f'# mine\nlog-format = "json"\n{named}\n\n[fetch]\nretry = 3\n'
    path.write_text(text)
    assert config("new.example:8443").exit_code == 0
    assert path.read_text() == text.replace(named, 'rendezvous = "new.example:8443"')
    assert find_signaling(None) == "wss://new.example:8443"


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        ("", ["a b"], "write its name"),
        ("", ["x.example", "--unset"], "exclude each other"),
        ("[rendezvous]\nno-turn = true\n", ["x.example"], "PEERFETCH_RENDEZVOUS"),
        ("[fetch\n", ["x.example"], "is not TOML"),
        ('"rendez\\u0076ous" = "y.example"\n', ["x.example"], "only you can change"),
    ],
)
def test_what_cannot_be_changed_is_not(
    path: Path, text: str, arguments: list[str], says: str
) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    result = config(*arguments)
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert path.read_text() == text


def test_what_is_no_file_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFETCH_CONFIG", "/dev/null")
    result = config("x.example")
    assert result.exit_code == 1
    assert "/dev/null is no file" in result.stderr
    assert Path("/dev/null").is_char_device()


def test_the_environment_counts_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config("file.example")
    monkeypatch.setenv("PEERFETCH_RENDEZVOUS", "environment.example")
    assert find_signaling(None) == "wss://environment.example"
    monkeypatch.setenv("PEERFETCH_SIGNALING", "ws://192.0.2.1")
    assert find_signaling(None) == "ws://192.0.2.1"
    assert find_signaling("ws://192.0.2.2") == "ws://192.0.2.2"
