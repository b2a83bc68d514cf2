"""Where what viewers say is heard."""

from __future__ import annotations

import logging
import queue
import shlex
import threading
import time
from typing import Protocol

__all__ = ["Hearing", "Speaker", "make_speaker"]

logger = logging.getLogger(__name__)

MAX_WAITING = 15
"""Packets that wait to be heard, of 20 ms each; the oldest give way, so that nobody hears what was
said long ago."""

TURN = 1.0
"""Seconds of silence after which another may speak."""

IDLE = 5.0
"""Seconds of silence after which the device is let go of."""

PAUSE = 5.0
"""Seconds until a device that has failed is tried again."""


class Output(Protocol):
    """A device that plays sound; its methods are called in a thread."""

    def open(self) -> None:
        """Begin. Raises CameraError."""

    def play(self, packet: bytes) -> None:
        """Play an Opus packet, and wait while it takes no more. Raises CameraError."""

    def close(self) -> None:
        """End. Idempotent."""


class Hearing(Protocol):
    """Whatever hears what viewers say, as a program's own."""

    def hear(self, packet: bytes, who: str) -> None:
        """An Opus packet that somebody says. Called on the event loop, and must not wait."""

    async def close(self) -> None:
        """No more comes."""


class Speaker:
    """Plays one viewer at a time: who speaks first is heard until silent."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._who = ""
        self._heard_at = -TURN
        self._failed_at = -PAUSE

    def hear(self, packet: bytes, who: str) -> None:
        """See :class:`Hearing`."""
        now = time.monotonic()
        if who != self._who and now - self._heard_at < TURN:
            return
        self._who, self._heard_at = who, now
        if self._thread is None or not self._thread.is_alive():
            if now - self._failed_at < PAUSE:
                return
            self._waiting = queue.Queue()
            arguments = (self._waiting,)
            self._thread = threading.Thread(
                target=self._run, args=arguments, name="peerfetch-speaker", daemon=True
            )
            self._thread.start()
        if self._waiting.qsize() >= MAX_WAITING:
            self._waiting.get_nowait()
        self._waiting.put(packet)

    async def close(self) -> None:
        """See :class:`Hearing`."""
        self._waiting.put(None)

    def _run(self, waiting: queue.Queue[bytes | None]) -> None:
        try:
            self._output.open()
            while (packet := waiting.get(timeout=IDLE)) is not None:
                self._output.play(packet)
        except queue.Empty:
            pass  # nobody says anything any more
        except Exception as error:
            self._failed_at = time.monotonic()
            logger.warning("what viewers say is not heard: %s", error)
        finally:
            self._output.close()


def make_speaker(address: str) -> Speaker:
    """The speaker at an address: ``alsa:DEVICE``, or ``exec:COMMAND`` of a program that reads
    samples from its standard input: 48,000 a second, mono, signed 16 bits, little endian.

    Raises ValueError for what is no address, MissingExtra where PyAV is not installed.
    """
    scheme, colon, rest = address.partition(":")
    if not colon or scheme not in ("alsa", "exec") or (scheme == "exec" and not shlex.split(rest)):
        raise ValueError(
            f"{address!r} is no speaker: write alsa:default, or exec:COMMAND of a program that "
            "reads samples"
        )
    from peerfetch_fast.media.pyav.loudspeaker import AlsaOutput, ProgramOutput

    if scheme == "alsa":
        return Speaker(AlsaOutput(rest or "default"))
    return Speaker(ProgramOutput(shlex.split(rest)))
