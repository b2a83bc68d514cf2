"""What is said of a peer that was not reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerfetch_fast.cli.reaching import explained
from peerfetch_fast.devices import Device, save_device
from peerfetch_fast.errors import ConnectError, PeerUnavailable


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path))
    return tmp_path


def test_a_name_that_is_not_paired_is_said_to_be_that() -> None:
    told = explained(PeerUnavailable("cam is not there"), "cam")
    assert told.startswith("cam is not there; and no device is paired as cam here: ")


def test_a_name_that_is_paired_is_not(state: Path) -> None:
    save_device(state, "cam", Device("some-id", "ws://127.0.0.1:9000", None))
    assert explained(PeerUnavailable("cam is not there"), "cam") == "cam is not there"


@pytest.mark.parametrize("peer_id", ["0f" * 16, "Upper"], ids=["random", "no name"])
def test_an_id_that_nobody_would_pair_as_a_name_is_not(peer_id: str) -> None:
    assert explained(PeerUnavailable("it is not there"), peer_id) == "it is not there"


def test_of_another_error_nothing_is_added() -> None:
    assert explained(ConnectError("no way to cam"), "cam") == "no way to cam"
    assert explained(FileNotFoundError(2, "No such file"), "cam") == "No such file"
