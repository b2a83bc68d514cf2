from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Sent


# The news of one SACK, beside the state before it.
cdef struct Report:
    Sent newest                 # of the chunks that it acknowledged first, the last that was sent
    double rtt                  # seconds, of `newest`; below 0: unknown
    uint64_t delivered          # DeliveryRate.delivered before it,
    double delivered_at         # and when that was
    uint32_t newest_tsn
    uint32_t was_unreported     # Sacks.unreported before it
    bint any                    # there is a `newest`
    bint moved                  # the cumulative TSN did
    bint repeated               # it reports chunks that came twice
    bint belated                # `newest` may have arrived long ago
    bint recovering             # Recovery.recovering before it
    bint was_cut_short          # the last SACK before it may not have named all that the peer had,
    bint cut_short              # or this one does not
