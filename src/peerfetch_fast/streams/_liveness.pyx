# cython: freethreading_compatible=False
"""Whether the other side is still there: PINGs, round trips, silence (docs/protocol.md, 5)."""

from peerfetch_fast.errors import PeerUnresponsive


cdef class Liveness:
    """The other side's signs of life, and our PINGs. All times are in seconds, of one clock.

    ``busy`` is whether a stream is open, ``leaving`` whether the session is ending in order.
    """

    def __init__(self, settings, bint resumes, double now):
        self.settings = settings
        self.resumes = resumes
        self.last_heard = self.next_probe = now
        self.asked_at = self.rtt = -1

    cdef bint heard(self, double now) noexcept:
        """The other side gave a sign of life. Returns whether it was silent until now."""
        cdef bint silent = self.silent
        self.last_heard = now
        self.silent = False
        return silent

    cdef int ask(self, double now) except -1:
        """Ask for a sign of life, and measure the round trip: ``owed`` is what a PING carries."""
        self.number += 1
        self.owed = self.number.to_bytes(8, "big")
        self.asked_at = now
        self.next_probe = now + <double> self.settings.keep_alive
        return 0

    cdef int answered(self, bytes data, double now) except -1:
        """A PONG has come."""
        if self.asked_at >= 0 and data == self.number.to_bytes(8, "big"):
            self.rtt = now - self.asked_at
            self.asked_at = -1
        return 0

    cdef double deadline(self, bint busy, bint leaving) except? -1:
        """When handle_timeout() is due."""
        if not self.unanswered():
            return self.last_heard + self.keep_alive(busy)
        if self.silent:
            return self.unanswered_until(self.lost_after(busy, leaving))
        return self.unanswered_until(self.settings.dead_after)

    cdef bint handle_timeout(self, double now, bint busy, bint leaving) except -1:
        """Do what is due. Returns whether the other side counts as silent from now on.

        Raises PeerUnresponsive when it was silent for too long.
        """
        if not self.unanswered():
            if now >= self.last_heard + self.keep_alive(busy):
                self.ask(now)
        elif now >= self.unanswered_until(self.lost_after(busy, leaving)):
            raise PeerUnresponsive(
                f"nothing was heard of the other side for {now - self.last_heard:.1f} s"
            )
        elif not self.silent and now >= self.unanswered_until(self.settings.dead_after):
            self.silent = True
            return True
        return False

    cdef bint unanswered(self) noexcept:
        """Whether nothing was heard since the latest PING."""
        return self.asked_at >= 0 and self.last_heard <= self.asked_at

    cdef double keep_alive(self, bint busy) except -1:
        """Seconds of silence after which a PING is sent."""
        if self.resumes and not busy:
            return self.settings.idle_keep_alive
        return self.settings.keep_alive

    cdef double lost_after(self, bint busy, bint leaving) except -1:
        """Seconds of silence after which the session is given up."""
        cdef double dead_after = self.settings.dead_after
        if leaving and not busy:
            return dead_after  # nothing is left that would be lost
        return max(dead_after, self.patience)

    cdef double unanswered_until(self, double silence) except? -1:
        """When there will have been ``silence`` since the other side was heard, and was asked."""
        # Counted from the PING too, so that a program that itself stood still (a suspended laptop)
        # asks before it gives up.
        return max(
            self.asked_at + silence - <double> self.settings.keep_alive, self.last_heard + silence
        )
