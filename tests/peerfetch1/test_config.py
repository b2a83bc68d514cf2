"""The files of old proxies."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.peerfetch1.config import OldConfig, load_config, load_old_peer_id


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("PEERJS_CONFIG_FILE", "PEERJS_PEERID_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_files_there_is_no_configuration() -> None:
    assert load_config() is None
    assert load_old_peer_id() is None


def test_a_whole_file_gives_signaling_and_ice_servers() -> None:
    Path("peerjs-config.yaml").write_text(
        """
signaling_server: pnp.example.org
port: 9779
secure: false
ice_servers:
  - urls: ["stun:stun.example.org:3478"]
  - urls: turn:turn.example.org:3478
    username: me
    credential: secret
log_level: INFO
"""
    )
    config = load_config()
    assert config is not None
    assert config.signaling == "ws://pnp.example.org:9779"
    assert config.log_level == "info"
    assert [(s.urls, s.username, s.credential) for s in config.ice_servers] == [
        ("stun:stun.example.org:3478", None, None),
        ("turn:turn.example.org:3478", "me", "secret"),
    ]


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", OldConfig()),
        ("signaling_server: a.example", OldConfig("wss://a.example:443")),
        ("host: a.example\nport: 1\nsecure: true", OldConfig("wss://a.example:1")),
        ("log_level: DEBUG\nunknown: 1", OldConfig(log_level="debug")),
    ],
)
def test_what_a_file_leaves_out_is_what_old_proxies_take_for_granted(
    text: str, config: OldConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(text)
    monkeypatch.setenv("PEERJS_CONFIG_FILE", str(other))
    assert load_config() == config


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a",
        "text",
        "signaling_server: [1]",
        "signaling_server: a.example\nport: x",
        "ice_servers: 5",
        "ice_servers: [{}]",
        "ice_servers: [{urls: [5]}]",
        "ice_servers: [{urls: 'http://x'}]",
        "log_level: loud",
        "x: !!python/object/apply:os.system ['true']",
        "a: " + "[" * 1000,
        "#" * 100_000,
    ],
)
def test_files_that_hold_something_else(text: str) -> None:
    Path("peerjs-config.yaml").write_text(text)
    with pytest.raises(PeerfetchError, match=r"peerjs-config\.yaml"):
        load_config()


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERJS_CONFIG_FILE", "missing.yaml")
    with pytest.raises(FileNotFoundError):
        load_config()


def test_the_peer_id_is_read_from_its_file() -> None:
    Path(".peerjsrc").write_text('{"peerId": "0f6c-7d_x"}')
    assert load_old_peer_id() == "0f6c-7d_x"


def test_the_peer_id_is_made_where_it_is_to_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "id.json"
    monkeypatch.setenv("PEERJS_PEERID_FILE", str(path))
    peer_id = load_old_peer_id()
    assert json.loads(path.read_text()) == {"peerId": peer_id}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_old_peer_id() == peer_id


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '{"peerId": 5}', '{"peerId": "a/b"}'])
def test_a_file_without_a_peer_id(text: str) -> None:
    Path(".peerjsrc").write_text(text)
    with pytest.raises(PeerfetchError, match="peerjsrc"):
        load_old_peer_id()
