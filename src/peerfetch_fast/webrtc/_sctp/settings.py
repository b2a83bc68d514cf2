"""The settings of an association."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "DEFAULT_CONGESTION",
    "MAX_RETRANSMISSIONS",
    "UNANNOUNCED_MESSAGE_SIZE",
    "AssociationSettings",
    "Congestion",
]

Congestion = Literal["bbr", "cubic", "rfc9260"]
"""A congestion controller: one that models the path, or one of two that back off at every loss."""

DEFAULT_CONGESTION: Congestion = "bbr"

UNANNOUNCED_MESSAGE_SIZE = 65_535
"""Bytes of the largest message for a peer that does not say what it takes. RFC 8841 section 6.1 has
64 KiB there, but pion v3 and webrtc-rs, which do not say, fail at just that."""

MAX_RETRANSMISSIONS = 1_000
"""Bound of :attr:`AssociationSettings.max_retransmissions`; about two a second leave."""


@dataclass(frozen=True)
class AssociationSettings:
    """Every bound and timer of one association. Sizes are bytes, times are seconds."""

    local_port: int = 5000
    remote_port: int = 5000

    #: The largest SCTP packet to send, common header included. 1,163 is what DTLS 1.2 with AES-GCM
    #: leaves of a 1,200-byte datagram. Rounded down to a multiple of 4, as chunks are padded.
    max_packet_size: int = 1_163
    #: The largest SCTP packet to receive; a longer one is dropped. No stack's is longer than an IP
    #: packet on Ethernet, as DTLS does not put records together (RFC 8261 §5).
    max_received_packet: int = 2_048
    #: The largest message to receive; a longer one ends the association.
    max_message_size: int = 262_144
    #: Whether of a longer one so much is delivered instead, and the rest is forgotten as it comes.
    cut_messages: bool = False
    #: The largest message that the peer takes, from its session description; 0: any.
    remote_max_message_size: int = UNANNOUNCED_MESSAGE_SIZE
    #: Memory for what has been received but cannot be delivered yet, its overhead included.
    receive_window: int = 4 * 1024 * 1024
    #: Memory for messages accepted but not acknowledged, over all channels.
    send_buffer: int = 16 * 1024 * 1024
    #: Data channels open at once.
    max_channels: int = 1_024
    #: Label and protocol of a channel that the peer opens, each; with a longer one it is refused.
    max_label: int = 65_535
    #: Memory for the labels and protocols of the channels that the peer has open, all together.
    label_memory: int = 1024 * 1024

    #: RFC 9260 §6.3.1. The minimum is above the longest that a peer may delay a SACK by default
    #: (200 ms), as a lost tail is found by probes and not by this timer.
    rto_min: float = 0.4
    rto_initial: float = 1.0
    rto_max: float = 60.0
    #: Unanswered retransmissions in a row, about two a second, after which the peer counts as gone:
    #: 30 s, as ICE's consent has it (RFC 7675 §5.1).
    max_retransmissions: int = 60
    max_init_retransmissions: int = 16
    #: Silence before a HEARTBEAT; 0: none are sent.
    heartbeat_interval: float = 30.0
    #: The longest that a SACK waits for a second packet or for data to go with (at most 0.5).
    sack_delay: float = 0.02

    #: Offer and use zero checksums (RFC 9653): DTLS protects the packet better than CRC32C does.
    zero_checksum: bool = True
    #: Bytes per second that leave at most: a peer that acknowledges what it never got can make us
    #: send no faster.
    max_rate: float = 1.25e9
    #: The algorithm that decides how much may be in flight.
    congestion: Congestion = DEFAULT_CONGESTION

    def __post_init__(self) -> None:
        def within(name: str, low: float, high: float) -> None:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be between {low} and {high}, not {value}")

        within("local_port", 1, 65_535)
        within("remote_port", 1, 65_535)
        within("max_packet_size", 256, 65_532)
        within("max_received_packet", 1_500, 65_535)
        within("max_message_size", 1, 1 << 30)
        within("remote_max_message_size", 0, 1 << 40)
        # Half of it must be left when a message is all but complete, or the window closes on it.
        within("receive_window", max(65_536, 2 * self.max_message_size), 1 << 31)
        within("send_buffer", 1, 1 << 40)
        within("max_channels", 1, 65_535)
        within("max_label", 0, 65_535)
        within("label_memory", 0, 1 << 31)
        within("rto_min", 0.001, self.rto_max)
        within("rto_initial", self.rto_min, self.rto_max)
        within("max_retransmissions", 1, MAX_RETRANSMISSIONS)
        within("max_init_retransmissions", 1, MAX_RETRANSMISSIONS)
        within("heartbeat_interval", 0, 86_400)
        within("sack_delay", 0, 0.5)
        within("max_rate", 10_000, 1e12)
