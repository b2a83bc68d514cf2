"""The rate at which the path delivers (draft-cheng-iccrg-delivery-rate-estimation).

Each chunk remembers how much had been delivered when it left. What was delivered between that
moment and its acknowledgement, over the longer of the two times in which it was sent and
acknowledged, is a sample of the rate.
"""


from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Sent
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


cdef class DeliveryRate:
    """Counts what is delivered, and samples the rate.

    :ivar delivered: bytes of chunks acknowledged, headers included.
    """

    cdef void sample(
        self, AckSample* sample, const Report* report, RoundTrips round_trips, double now
    ) noexcept:
        """The sample of a SACK that acknowledged something. The caller adds the bytes in flight."""
        cdef const Sent* newest = &report.newest
        sample.now = now
        sample.recovering = report.recovering
        sample.acked = self.delivered - report.delivered
        sample.delivered = self.delivered
        sample.prior_delivered = newest.delivered
        sample.interval = max(newest.sent_at - newest.stretch_began, now - newest.delivered_at)
        if newest.limits & CUT_SHORT:
            # Some of this had come before it left. The rate is no more than that since all was
            # known, if that was long enough ago to say anything.
            if now - self.reported_at < round_trips.shortest:
                sample.interval = 0
            else:
                sample.interval = max(
                    sample.interval,
                    (self.delivered - newest.delivered) * (now - self.reported_at)
                    / (self.delivered - self.reported_delivered),
                )
        sample.rtt = report.rtt
        if newest.transmissions > 1 or report.belated or not round_trips.is_plausible(report.rtt):
            sample.rtt = -1
        sample.smoothed_rtt = round_trips.smoothed
        sample.min_rtt = round_trips.shortest
        sample.app_limited = newest.limits & APP_LIMITED
        sample.understated = (
            newest.limits & PEER_LIMITED or report.was_cut_short or report.cut_short
        )
