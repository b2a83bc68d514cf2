"""The configuration files of old proxies, so that a device only has to replace the program."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from peerfetch_fast.errors import PeerfetchError, SignalingError
from peerfetch_fast.signaling.peerjs.messages import is_peer_id, is_token
from peerfetch_fast.signaling.seam import checked_service
from peerfetch_fast.state import write_whole
from peerfetch_fast.webrtc.ice.gathering import IceServer, servers_of

__all__ = ["OldConfig", "load_config", "load_old_identity", "load_old_peer_id"]

CONFIG_VARIABLE, CONFIG_FILE = "PEERJS_CONFIG_FILE", "peerjs-config.yaml"
PEER_ID_VARIABLE, PEER_ID_FILE = "PEERJS_PEERID_FILE", ".peerjsrc"

MAX_FILE = 64 * 1024
"""Bytes of the largest file that is read."""

_LEVELS = frozenset(("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class OldConfig:
    """The values of ``peerjs-config.yaml``; None for values that it leaves out."""

    signaling: str | None = None
    ice_servers: tuple[IceServer, ...] = ()
    log_level: str | None = None


def load_config() -> OldConfig | None:
    """Read ``peerjs-config.yaml`` in the working directory, or the file that
    ``PEERJS_CONFIG_FILE`` names; None if there is no such file.

    Raises PeerfetchError for a file that holds something else, OSError for one that cannot be read.
    """
    explicit = os.environ.get(CONFIG_VARIABLE)
    path = Path(explicit or CONFIG_FILE)
    if not explicit and not path.exists():
        return None
    fields = _read(path)
    level = fields.get("log_level")
    if level is not None and str(level).lower() not in _LEVELS:
        raise PeerfetchError(f"{path}: log_level must be one of {', '.join(sorted(_LEVELS))}")
    return OldConfig(
        _signaling(path, fields),
        _ice_servers(path, fields),
        None if level is None else str(level).lower(),
    )


def load_old_peer_id() -> str | None:
    """The peer id in ``.peerjsrc`` in the working directory, or in the file that
    ``PEERJS_PEERID_FILE`` names, which is made if it is missing; None where there is neither.

    Raises as :func:`load_config` does.
    """
    explicit = os.environ.get(PEER_ID_VARIABLE)
    path = Path(explicit or PEER_ID_FILE)
    if path.exists():
        peer_id = _read(path).get("peerId")
        if not isinstance(peer_id, str) or not is_peer_id(peer_id):
            raise PeerfetchError(f"{path} holds no peerId: delete it to get a new one")
        return peer_id
    if not explicit:
        return None
    peer_id = secrets.token_hex(16)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"peerId": peer_id}, file)
    return peer_id


def load_old_identity() -> tuple[str, str]:
    """Peer id and signaling token in ``.peerjsrc``, or in the file that ``PEERJS_PEERID_FILE``
    names; what is missing is made and kept there.

    The token is how a server knows whose the id is: kept, the id is taken up again at once after a
    power cut. Raises as :func:`load_config` does.
    """
    path = Path(os.environ.get(PEER_ID_VARIABLE) or PEER_ID_FILE)
    kept = _read(path) if path.exists() else {}
    peer_id = kept.get("peerId") or secrets.token_hex(16)
    if not isinstance(peer_id, str) or not is_peer_id(peer_id):
        raise PeerfetchError(f"{path} holds no peerId: delete it to get a new one")
    token = kept.get("token")
    if not isinstance(token, str) or not is_token(token):
        token = secrets.token_hex(16)
        write_whole(path, json.dumps({**kept, "peerId": peer_id, "token": token}).encode())
    return peer_id, token


def _read(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        text = file.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise PeerfetchError(f"{path} is larger than {MAX_FILE} bytes")
    import yaml

    try:
        fields = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PeerfetchError(f"{path} is not YAML: {error}") from None
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise PeerfetchError(f"{path} holds no names with values")
    return fields


def _signaling(path: Path, fields: dict[str, object]) -> str | None:
    # Earlier versions of peerjs-python's proxy called it "host".
    host = fields.get("signaling_server", fields.get("host"))
    if host is None:
        return None
    # The defaults of old proxies.
    port, secure = fields.get("port", 443), fields.get("secure", True)
    url = f"{'wss' if secure else 'ws'}://{host}:{port}"
    try:
        return checked_service(url)
    except SignalingError as error:
        raise PeerfetchError(f"{path}: {error}") from None


def _ice_servers(path: Path, fields: dict[str, object]) -> tuple[IceServer, ...]:
    servers = fields.get("ice_servers") or []
    try:
        found = []
        for server in servers:  # type: ignore[attr-defined]
            urls = server["urls"]
            for url in [urls] if isinstance(urls, str) else urls:
                found.append(IceServer(url, server.get("username"), server.get("credential")))
        servers_of(found)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise PeerfetchError(
            f"{path}: ice_servers must be a list like [{{urls: ['stun:HOST:PORT']}}], with "
            "username and credential for turn:"
        ) from None
    return tuple(found)
