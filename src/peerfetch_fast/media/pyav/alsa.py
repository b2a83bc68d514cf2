"""ALSA's configuration: PyAV's wheels have an ALSA of their own, which looks for it elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["use_system_configuration"]

CONFIGURATION = Path("/usr/share/alsa/alsa.conf")


def use_system_configuration() -> None:
    """Have ALSA read this machine's configuration, unless the user has said which."""
    if "ALSA_CONFIG_PATH" not in os.environ and CONFIGURATION.exists():
        os.environ["ALSA_CONFIG_PATH"] = str(CONFIGURATION)
