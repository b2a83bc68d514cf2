"""The names of paired devices."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from peerfetch_fast.devices import Device, is_name, load_devices, save_device
from peerfetch_fast.errors import PeerfetchError

PIN = "sha256:" + "0a" * 32


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert load_devices(tmp_path / "none") == {}
    directory = tmp_path / "deep" / "state"
    camera, other = Device("cam-1", "ws://h:9000", PIN), Device("x", "wss://h/a?key=b")
    save_device(directory, "garage-cam", Device("old", "ws://h"))
    save_device(directory, "attic", other)
    save_device(directory, "garage-cam", camera)
    assert load_devices(directory) == {"garage-cam": camera, "attic": other}
    assert {file.name for file in directory.iterdir()} == {"devices.json", "devices.json.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has the lock")
def test_devices_that_are_saved_at_once_are_all_kept(tmp_path: Path) -> None:
    def save(number: int) -> None:
        for turn in range(10):
            save_device(tmp_path, f"cam-{number}-{turn}", Device("x", "ws://h"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    assert len(load_devices(tmp_path)) == 40


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "5",
        '{"a": 5}',
        '{"a": {}}',
        '{"a": {"peer_id": "a/b", "signaling": "ws://h"}}',
        '{"a": {"peer_id": "x", "signaling": "ws://h", "pin": "sha256:0"}}',
        '{"a": {"peer_id": "x", "signaling": "ws://h", "pin": 5}}',
        " " * 2_000_000,
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "devices.json").write_text(text)
    with pytest.raises(PeerfetchError, match="holds no devices"):
        load_devices(tmp_path)
    with pytest.raises(PeerfetchError):
        save_device(tmp_path, "a", Device("x", "ws://h"))


@pytest.mark.parametrize("name", ["a", "garage-cam", "0", "a" * 63])
def test_names_that_a_host_can_have_are_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-", "a-", "A", "a.b", "a b", "ä", "a" * 64, "a/b"])
def test_names_that_are_none(name: str) -> None:
    assert not is_name(name)
