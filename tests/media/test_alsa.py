"""Which configuration ALSA reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peerfetch_fast.media.pyav import alsa


def test_the_systems_unless_the_user_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "alsa.conf"
    monkeypatch.setattr(alsa, "CONFIGURATION", file)
    monkeypatch.setenv("ALSA_CONFIG_PATH", "mine")
    monkeypatch.delenv("ALSA_CONFIG_PATH")
    alsa.use_system_configuration()
    assert "ALSA_CONFIG_PATH" not in os.environ
    file.touch()
    alsa.use_system_configuration()
    assert os.environ["ALSA_CONFIG_PATH"] == str(file)
    monkeypatch.setenv("ALSA_CONFIG_PATH", "mine")
    alsa.use_system_configuration()
    assert os.environ["ALSA_CONFIG_PATH"] == "mine"
