from __future__ import annotations

from typing import Any

import pytest

from peerfetch_fast.signaling.peerjs.settings import (
    SignalingClientSettings,
    SignalingServerSettings,
)


@pytest.mark.parametrize("path", ["/", "/myapp/", "/a/b-c/"])
def test_paths_begin_and_end_with_a_slash(path: str) -> None:
    assert SignalingServerSettings(path=path).path == path


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "/myapp"},
        {"path": "myapp/"},
        {"path": "/{name}/"},
        {"key": ""},
        {"key": "a/b"},
        {"key": "{key}"},
        {"max_clients": 0},
        {"max_connections": 0},
        {"max_per_address": 0},
        {"descriptor_reserve": -1},
        {"head_timeout": 0},
        {"first_message_timeout": -1},
        {"alive_timeout": 0},
        {"message_queue_time": -1},
        {"message_rate": 0},
        {"message_burst": 0},
        {"max_outgoing": 64 * 1024},
    ],
)
def test_server_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SignalingServerSettings(**wrong)


@pytest.mark.parametrize("origin", ["*", "null", "app.example"])
def test_what_is_no_origin_is_allowed_nowhere(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        SignalingServerSettings(allowed_origins=("https://app.example", origin))


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_timeout": 0},
        {"heartbeat_interval": 20.0},
        {"backoff_initial": 60.0},
    ],
)
def test_client_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SignalingClientSettings(**wrong)
