"""The devices that were paired: names for peers, kept in the state directory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.state import locked, write_whole

__all__ = [
    "Device",
    "is_name",
    "load_devices",
    "remove_device",
    "rename_device",
    "save_device",
]

FILE = "devices.json"

MAX_FILE = 1024 * 1024
"""Bytes of the largest file that is read: some 5,000 devices."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Device:
    """The address and the pin of a paired device."""

    peer_id: str
    signaling: str
    pin: str | None = None


def is_name(text: str) -> bool:
    """Whether ``text`` can name a device. Names have the syntax of a host name (RFC 1123 §2.1)."""
    return _NAME.fullmatch(text) is not None


def load_devices(directory: Path) -> dict[str, Device]:
    """The devices kept in ``directory``, by name.

    Raises PeerfetchError for a file that holds something else, OSError when it cannot be read.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    try:
        if len(text) > MAX_FILE:
            raise ValueError
        return {name: _device(fields) for name, fields in orjson.loads(text).items()}
    except (ValueError, TypeError, AttributeError, PeerfetchError):
        raise PeerfetchError(f"{path} holds no devices: correct or delete it") from None


def _device(fields: dict[str, object]) -> Device:
    peer_id, signaling, pin = (fields.get(name) for name in ("peer_id", "signaling", "pin"))
    if not isinstance(peer_id, str) or not is_peer_id(peer_id) or not isinstance(signaling, str):
        raise ValueError
    if pin is None:
        return Device(peer_id, signaling)
    if not isinstance(pin, str):
        raise ValueError
    parse_pin(pin)
    return Device(peer_id, signaling, pin)


def save_device(
    directory: Path, name: str, device: Device, *, replace: Callable[[Device], bool] | None = None
) -> bool:
    """Save ``device`` under ``name``, and return whether that was done.

    :param replace: called with another device that has the name already; returns whether to replace
    it. By default it is replaced.

    Raises as :func:`load_devices` does, and OSError when it cannot be written.
    """

    def change(devices: dict[str, Device]) -> bool:
        other = devices.get(name)
        if other is not None and other != device and replace is not None and not replace(other):
            return False
        devices[name] = device
        return True

    return _change(directory, change)


def rename_device(
    directory: Path, old: str, new: str, *, replace: Callable[[Device], bool]
) -> bool:
    """Rename the device ``old`` to ``new``; parameters, result and errors are those of
    :func:`save_device`.

    Raises KeyError if there is no device ``old``.
    """

    def change(devices: dict[str, Device]) -> bool:
        device = devices[old]
        other = devices.get(new)
        if other is not None and other != device and not replace(other):
            return False
        del devices[old]
        devices[new] = device
        return True

    return _change(directory, change)


def remove_device(directory: Path, name: str) -> bool:
    """Forget the device ``name``, and return whether there was one. Raises as :func:`save_device`
    does.
    """
    return _change(directory, lambda devices: devices.pop(name, None) is not None)


def _change(directory: Path, change: Callable[[dict[str, Device]], bool]) -> bool:
    """Load the devices, have ``change`` change them, and save them if it returns True."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(directory / FILE):
        devices = load_devices(directory)
        if not change(devices):
            return False
        content = {name: asdict(device) for name, device in devices.items()}
        # Only the owner may read the file: a peer id is enough to ask for a connection.
        write_whole(directory / FILE, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return True
