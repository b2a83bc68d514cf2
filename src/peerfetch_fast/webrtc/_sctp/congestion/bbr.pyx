"""A controller that models the path, as BBR version 3 does (draft-ietf-ccwg-bbr).

The model is the rate at which the bottleneck delivers and the round trip without a queue; their
product is what the path holds. Packets leave at that rate, and no more than about two such products
are in flight. Every few round trips the controller sends a quarter more for about one of them: if
that brings more, the path has more to give; if only a queue, it is let go again at once.

**Loss** is where this departs from the draft, which takes more than two per cent of it for
congestion: a radio link loses that much at any rate. A full queue loses packets *and* makes all
others wait, so loss counts as congestion in a round trip of which even the shortest sample shows a
queue of half the path's content, and only as far as it goes beyond what is lost without a queue.
Probing never builds such a queue by itself; another flow does, or a path that has become slower.
What congestion takes away (the rate, until the next probe) and how long that probe waits leave a
CUBIC flow on the same bottleneck its share.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport (
    INITIAL_PACKETS,
    AckSample,
    CongestionControl,
)

cdef enum:
    MIN_PACKETS = 4             # in flight
    FULL_ROUNDS = 3             # without growth: the path is full
    START_ROUNDS = 2            # in which the losses of a start that went too far still show
    # Hosts that pause keep more in flight than the path holds, and it never falls to that. A
    # probe's queue drains in about as many rounds as it took to build.
    DOWN_ROUNDS = 1
    # Rounds between two probes, and a random number more below the spread, while nothing shows
    # other flows: a path that has become faster is found soon.
    SHORT_WAIT = 5
    SHORT_WAIT_SPREAD = 4
    # After congestion the wait is as many rounds as there are packets in flight, in which a Reno
    # flow of that size grows by half, but at most LONG_WAIT rounds, or the seconds below.
    LONG_WAIT = 63

# Values without a reason beside them are the draft's.
cdef double STARTUP_GAIN = 2.77
cdef double DRAIN_GAIN = 0.5
cdef double DOWN_GAIN = 0.75
cdef double UP_GAIN = 1.25
cdef double TRIM_GAIN = 0.95        # a rate a little too high fills the queue by the next probe
cdef double WINDOW_GAIN = 2.0
cdef double UP_WINDOW_GAIN = 1.5
cdef double GROWTH = 1.25           # a round with less has not grown
cdef double SHORT_WAIT_TIME = 0.5   # seconds
cdef double LONG_WAIT_TIME = 2.0    # seconds, and up to another one
cdef double BETA = 0.7              # of the rate is left after congestion
# Loss without a queue is random: its average over so many rounds is remembered. Loss is congestion
# where it exceeds twice that average by LOSS_FLOOR of a round.
cdef double LOSS_MEMORY = 32.0
cdef double LOSS_FLOOR = 0.01
# With a queue, a loss of this share of a round means that the path has become slower, and that the
# round's rate is its new one.
cdef double HEAVY_LOSS = 0.3

# Multiples of the shortest round trip that show a queue: PROBED_QUEUE ends a probe, and probing
# alone never reaches STANDING_QUEUE.
cdef double PROBED_QUEUE = 1.2
cdef double STANDING_QUEUE = 1.5
# A queue that stays when ours has drained is another flow's. The window grows with it, or that flow
# would crowd us out, up to this multiple of the shortest round trip.
cdef double MAX_STANDING = 8.0
# Delay that event loops, batches and radios add on any path, in seconds. The window has room for
# it.
cdef double JITTER = 0.001

# A driver that reads the clock once a batch may measure no time at all; intervals are no shorter.
cdef double CLOCK = 1e-5

# A path that has become longer always shows the same round trip when our own queue is let go; the
# queue of a loss-based flow comes and goes in seconds, and must not pass for the path.
cdef double DELAY_WINDOW = 15.0         # seconds
cdef double STEADY_DELAY = 1.1
cdef double PROBE_RTT_INTERVAL = 5.0    # seconds
cdef double PROBE_RTT_TIME = 0.2
cdef double PROBE_RTT_GAIN = 0.5
# A round trip within this multiple of the shortest shows an empty queue.
cdef double SAME_DELAY = 1.03


cdef class Bbr(CongestionControl):
    """Rate and round trip of the path, and what to send by them."""

    def __cinit__(self, uint32_t chunk_size, uint32_t seed):
        self.random = seed | 1
        self.bandwidth.bound = INFINITY
        self.bandwidth_before = self.bandwidth
        self.delay.shortest = self.delay.recent = self.delay.cycle = self.delay.least = INFINITY
        self.round.shortest = INFINITY
        self.round.app_limited = True

    # Calls of the sender

    cdef void on_acked(self, const AckSample* sample) noexcept:
        if self.timed_out:
            # The model from before the timeout is the best guess of the path.
            self.timed_out = False
            self.window = max(self.window, <uint64_t>self._inflight(1.0))
        self._measure(sample)
        if sample.prior_delivered >= self.round.end:
            self._end_round(sample)
        self._advance(sample)
        self._publish(sample)

    cdef void on_lost(self, double now, uint64_t size, bint first) noexcept:
        self.round.lost += size

    cdef void on_timeout(self, double now) noexcept:
        self.timed_out = True
        self.window = self.chunk_size
        self.pacing_rate = 0

    cdef void on_spurious(self) noexcept:
        self.bandwidth.newest = max(self.bandwidth.newest, self.bandwidth_before.newest)
        self.bandwidth.older = max(self.bandwidth.older, self.bandwidth_before.older)
        self.bandwidth.bound = max(self.bandwidth.bound, self.bandwidth_before.bound)

    # The model

    cdef void _measure(self, const AckSample* sample) noexcept:
        cdef double rate
        cdef bint seen
        cdef PathDelay* delay = &self.delay
        if sample.rtt >= 0:
            self.round.shortest = min(self.round.shortest, sample.rtt)
            delay.cycle = min(delay.cycle, sample.rtt)
            if sample.rtt <= delay.recent * SAME_DELAY:
                delay.recent = min(delay.recent, sample.rtt)
                delay.recent_at = sample.now
            seen = sample.rtt <= delay.shortest * SAME_DELAY
            if seen or sample.now - delay.shortest_at > DELAY_WINDOW:
                if seen:
                    delay.shortest = min(delay.shortest, sample.rtt)
                elif delay.greatest <= STEADY_DELAY * delay.least:
                    delay.shortest = delay.recent
                delay.shortest_at = sample.now
                delay.least = INFINITY
                delay.greatest = 0
        if not sample.app_limited:
            self.round.app_limited = False
        if sample.understated:
            self.round.understated = True
        # An application that had little to send proves a rate, but not that there is no more.
        if sample.interval >= delay.shortest:
            rate = (sample.delivered - sample.prior_delivered) / max(sample.interval, CLOCK)
            self.bandwidth.newest = max(self.bandwidth.newest, rate)

    cdef void _end_round(self, const AckSample* sample) noexcept:
        cdef Round* round = &self.round
        cdef double lost = round.lost
        cdef double greatest = max(self.bandwidth.newest, self.bandwidth.older)
        cdef bint queue = self.round.shortest != INFINITY and (
            self.round.shortest > self._queued_rtt(STANDING_QUEUE)
        )
        lost /= max(lost + sample.delivered - round.delivered, 1.0)
        if round.shortest == INFINITY:
            # Everything acknowledged was retransmitted or reported late, so no round trip is known.
            # Heavy loss alone shows the queue.
            queue = lost > HEAVY_LOSS
        round.count += 1
        if not round.app_limited:
            if greatest >= self.full_rate * GROWTH:
                self.full_rate = greatest
                self.full_rounds = 0
            else:
                self.full_rounds += 1
        if not queue and round.shortest != INFINITY:
            self.random_loss += (lost - self.random_loss) / LOSS_MEMORY
        if queue and round.count > self.congested_round + 1 and (
            lost > 2 * self.random_loss + LOSS_FLOOR
        ):
            self._answer_congestion(sample, lost > HEAVY_LOSS)
        elif queue and self.full_rounds and self.state == STARTUP:
            self.full_rounds = FULL_ROUNDS
        self.queued = round.shortest != INFINITY and round.shortest > max(
            self._queued_rtt(PROBED_QUEUE), PROBED_QUEUE * self.delay.standing
        )
        round.began = sample.now
        round.end = sample.delivered
        round.delivered = sample.delivered
        round.lost = 0
        round.shortest = INFINITY
        round.app_limited = True
        round.understated = False

    cdef void _answer_congestion(self, const AckSample* sample, bint heavy) noexcept:
        # A full queue drains at the rate that the path gives us now. A round in which the
        # application paused shows less, and is not used. Where the rate is understated it counts
        # for no less than half of the known one.
        cdef double given = INFINITY
        if not self.round.app_limited:
            given = (sample.delivered - self.round.delivered) / max(
                sample.now - self.round.began, CLOCK
            )
            if self.round.understated:
                given = max(given, 0.5 * self._rate())
        self.congested_round = self.round.count
        self.congested = True
        self.bandwidth_before = self.bandwidth
        # Heavy loss in STARTUP shows that the path is full. It shows the path's rate only where the
        # round is not understated.
        if heavy and not (self.state == STARTUP and self.round.understated):
            self.bandwidth.newest = min(self.bandwidth.newest, given)
            self.bandwidth.older = min(self.bandwidth.older, given)
        if self.state == STARTUP:
            self.full_rounds = FULL_ROUNDS
        elif not heavy and self.round.count > self.filled_round + START_ROUNDS:
            self.bandwidth.bound = min(BETA * self._rate(), given)
        if self.state == UP or self.state == CRUISE:
            self._enter(DOWN, sample.now)

    cdef double _rate(self) noexcept:
        return min(max(self.bandwidth.newest, self.bandwidth.older), self.bandwidth.bound)

    cdef double _inflight(self, double gain) noexcept:
        """*gain* times what the path holds, in bytes."""
        if self.delay.shortest == INFINITY:
            return INITIAL_PACKETS * self.chunk_size
        return max(
            self._rate() * (gain * max(self.delay.shortest, self.delay.standing) + JITTER),
            <double>MIN_PACKETS * self.chunk_size,
        )

    cdef double _queued_rtt(self, double gain) noexcept:
        return gain * self.delay.shortest + JITTER

    # The states

    cdef void _advance(self, const AckSample* sample) noexcept:
        cdef uint64_t rounds = self.round.count - self.state_round
        cdef uint64_t most_rounds
        cdef double elapsed = sample.now - self.state_since
        if self.state == STARTUP:
            if self.full_rounds >= FULL_ROUNDS:
                self.filled = True
                self.filled_round = self.round.count
                self._enter(DRAIN, sample.now)
        elif self.state == DRAIN or self.state == DOWN:
            most_rounds = 2 * FULL_ROUNDS
            if self.state == DOWN and not self.congested:
                most_rounds = DOWN_ROUNDS
            if sample.in_flight <= self._inflight(1.0) or rounds > most_rounds:
                self._enter(CRUISE, sample.now)
        elif self.state == CRUISE:
            # A sender with little to send learns nothing from a probe, and keeps the rate it knows.
            if not sample.app_limited and (
                rounds >= self.wait_rounds or (rounds >= 2 and elapsed >= self.wait_time)
            ):
                self._enter(UP, sample.now)
        elif self.state == UP:
            # Not before what was sent faster has been acknowledged.
            if rounds >= 2 and self.full_rounds >= FULL_ROUNDS or rounds >= 1 and (
                sample.rtt > max(
                    self._queued_rtt(PROBED_QUEUE), PROBED_QUEUE * self.delay.standing
                )
            ):
                self._enter(DOWN, sample.now)
        elif self.probed_until == 0:
            if sample.in_flight <= self._inflight(PROBE_RTT_GAIN):
                self.probed_until = sample.now + min(PROBE_RTT_TIME, 4 * self.delay.shortest)
                self.state_round = self.round.count + 1
        elif sample.now >= self.probed_until and self.round.count > self.state_round:
            self.delay.recent_at = sample.now
            self._enter(DOWN if self.filled else STARTUP, sample.now)
        if self.state != PROBE_RTT and sample.now - self.delay.recent_at > PROBE_RTT_INTERVAL:
            self.delay.recent = INFINITY
            self.delay.recent_at = sample.now
            if not sample.app_limited:
                self._enter(PROBE_RTT, sample.now)

    cdef void _enter(self, State state, double now) noexcept:
        if state == UP:
            # Forget the rates of the probe before the last, unless nothing was learned since.
            if self.bandwidth.newest > 0:
                self.bandwidth.older = self.bandwidth.newest
            self.bandwidth.newest = 0
            self.bandwidth.bound = INFINITY
            self.full_rate = self.bandwidth.older
            self.full_rounds = 0
            self.congested = False
            self.delay.standing = 0
            if self.delay.cycle != INFINITY:
                self.delay.least = min(self.delay.least, self.delay.cycle)
                self.delay.greatest = max(self.delay.greatest, self.delay.cycle)
                if self.delay.cycle > self._queued_rtt(STANDING_QUEUE):
                    self.delay.standing = min(self.delay.cycle, MAX_STANDING * self.delay.shortest)
                self.delay.cycle = INFINITY
        elif state == CRUISE:
            self.wait_rounds = SHORT_WAIT + self._draw(SHORT_WAIT_SPREAD)
            self.wait_time = SHORT_WAIT_TIME
            if self.congested:
                self.wait_rounds = min(
                    <uint64_t>(self._inflight(1.0) / self.chunk_size), <uint64_t>LONG_WAIT
                )
                self.wait_time = LONG_WAIT_TIME + self._draw(1000) / 1000.0
        self.state = state
        self.state_since = now
        self.state_round = self.round.count
        self.probed_until = 0

    cdef uint32_t _draw(self, uint32_t limit) noexcept:
        """A number from 0 to *limit* - 1 (Marsaglia's xorshift): so that flows do not keep step."""
        self.random ^= self.random << 13
        self.random ^= self.random >> 17
        self.random ^= self.random << 5
        return self.random % limit

    # Values for the sender

    cdef void _publish(self, const AckSample* sample) noexcept:
        cdef double gain = 1.0, rate = self._rate()
        cdef uint64_t most
        if self.state == STARTUP:
            gain = STARTUP_GAIN
        elif self.state == DRAIN:
            gain = DRAIN_GAIN
        elif self.state == DOWN:
            gain = DOWN_GAIN
        elif self.state == UP:
            gain = UP_GAIN
        elif self.queued:
            gain = TRIM_GAIN
        if not self.filled and sample.smoothed_rtt > 0:
            # Until the path is filled, at least the first window leaves in a round trip.
            rate = max(rate, INITIAL_PACKETS * self.chunk_size / sample.smoothed_rtt)
        if rate > 0 and (self.filled or gain * rate > self.pacing_rate):
            self.pacing_rate = gain * rate
        if self.state == PROBE_RTT:
            most = <uint64_t>self._inflight(PROBE_RTT_GAIN)
        else:
            most = <uint64_t>self._inflight(UP_WINDOW_GAIN if self.state == UP else WINDOW_GAIN)
        if self.filled or self.state == PROBE_RTT:
            self.window = min(self.window + sample.acked, most)
        elif self.window < most or sample.delivered < <uint64_t>INITIAL_PACKETS * self.chunk_size:
            self.window += sample.acked
