"""The tracks of one sender on one clock, as its reports say (RFC 3550 section 6.4.1)."""

from __future__ import annotations

from peerfetch_fast.media.rtc.depacketizing import Unwrapped

__all__ = ["Clocks"]


class _Track:
    """Of one moment what the track's own clock shows, and the microseconds of another.

    :ivar reported: whether that is the sender's; else it is ours, by which a packet came then.
    """

    def __init__(self, rate: int, timestamp: int, arrived: int) -> None:
        self._rate = rate
        self._counter = Unwrapped(32)
        self.reported = False
        self.set(timestamp, arrived)

    def set(self, timestamp: int, microseconds: int) -> None:
        self._count, self._at = self._counter.count(timestamp), microseconds

    def at(self, timestamp: int) -> int:
        return self._at + (self._counter.count(timestamp) - self._count) * 1_000_000 // self._rate


class Clocks:
    """Says when what came was sent, by our clock.

    Before a track's sender has reported of it, that is counted from when its first packet came: by
    its own clock, and as late as that packet was. From then on it is counted by the sender's clock,
    which all its tracks share, so that they stay in step however long they last.

    :param rates: counts a second of each track's clock, by its name.
    """

    def __init__(self, rates: dict[str, int]) -> None:
        self._rates = rates
        self._tracks: dict[str, _Track] = {}
        self._shift: int | None = None

    def time(self, name: str, timestamp: int, arrived: int) -> int:
        """The microseconds at which a packet of a track was sent.

        :param arrived: those at which it came.
        """
        track = self._tracks.get(name)
        if track is None:
            track = self._tracks[name] = _Track(self._rates[name], timestamp, arrived)
        at = track.at(timestamp)
        if track.reported:
            assert self._shift is not None
            at += self._shift
        return max(at, 0)

    def report(self, name: str, timestamp: int, sent: int) -> None:
        """The sender reports that the track's clock had shown ``timestamp`` when its own showed
        ``sent`` microseconds. Of a track that has not begun it is left out.
        """
        track = self._tracks.get(name)
        if track is None:
            return
        if self._shift is None:
            # The times of the first track go on as they were.
            self._shift = track.at(timestamp) - sent
        track.set(timestamp, sent)
        track.reported = True
