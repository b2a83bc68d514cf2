"""The settings of an agent."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AgentSettings"]


@dataclass(frozen=True)
class AgentSettings:
    """Every bound and timer of one agent. Times are seconds."""

    #: Between two checks that nobody has asked for (Ta, RFC 8445 section 14.2).
    pacing: float = 0.02
    #: The first retransmission of a check; each further one waits twice as long. RFC 8445 section
    #: 14.3 has 0.5 s; the peer's router drops what comes before its own check, and that is common.
    rto: float = 0.25
    #: Times that a check is sent (Rc of RFC 8489 section 6.2.1).
    tries: int = 7
    #: The longest that one of these waits, the last of them always.
    max_wait: float = 4.0
    #: Times that a STUN server is asked.
    server_tries: int = 5

    #: Between two datagrams that keep a router's mapping while the peer is waited for (Tr, RFC 8445
    #: section 11).
    keepalive: float = 15.0

    #: For which direct ways are tried alone before a relay is nominated.
    relay_patience: float = 1.0
    #: From the first selection on, for which a better pair is nominated instead. Afterwards the
    #: controlled side follows the latest nomination, as the peer then has a reason to move.
    settling: float = 5.0
    #: Before all checks count as failed, though none is left: the peer's may still come
    #: (RFC 8863 section 4).
    patience: float = 39.5
    #: For which a peer that has not said that it has no more candidates may be silent, besides.
    trickle_patience: float = 30.0

    #: Between two consent checks, each chosen within 20 % of it, and how long consent lasts
    #: (RFC 7675 section 5.1).
    consent_interval: float = 5.0
    consent_timeout: float = 30.0
    #: A request that is not repeated is waited for so long.
    answer_timeout: float = 10.0
    #: An unanswered check, or silence, of so long makes a pair doubtful.
    silence: float = 1.0
    #: Between two checks of a pair that is in doubt.
    probe_interval: float = 0.2
    #: After which a pair that is in doubt is ``disconnected``.
    disconnected_after: float = 5.0

    #: Candidates of the peer that are kept, signaled or learned.
    max_remote_candidates: int = 64
    #: Pairs that are kept (RFC 8445 section 6.1.2.5).
    max_pairs: int = 100
    #: Sockets of ours.
    max_bases: int = 32
    #: Requests of ours that wait for an answer.
    max_transactions: int = 256
    #: Addresses of the peer that ``Admitted`` has named; of more, the oldest has to show itself
    #: again.
    max_sources: int = 16
    #: Addresses whose checks came before the peer's credentials.
    max_early: int = 16
    #: Requests of the peer that are answered in a second; ICE sends one each 20 ms, and each again.
    max_checks: int = 200
