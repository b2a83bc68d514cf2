"""The negotiation of two ends by descriptions (RFC 9429)."""

from __future__ import annotations

import secrets
from typing import Literal

from peerfetch_fast.errors import IdentityChanged, InvalidDescription
from peerfetch_fast.webrtc._sctp.association import init_chunk
from peerfetch_fast.webrtc._sctp.handshake import is_init
from peerfetch_fast.webrtc._sctp.settings import (
    UNANNOUNCED_MESSAGE_SIZE,
    AssociationSettings,
)
from peerfetch_fast.webrtc.descriptions import SessionDescription
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.sdp import Remote, read, write

__all__ = ["Jsep", "SignalingState"]

SPED_OPTIONS = ("sped", "googspedv1")
"""That checks may carry DTLS: the draft's name, and that of libwebrtc from 155 on."""

OLDER_SPED_OPTION = "goog-sped-v1"
"""That of libwebrtc before, which RFC 8839 allows nobody: it is answered, and not offered."""

SignalingState = Literal["stable", "have-local-offer", "have-remote-offer", "closed"]


class Jsep:
    """Offers and answers of one connection.

    :ivar signaling: where it stands.
    :ivar mid: the identification of our section.
    :ivar setup: our role in DTLS: ``active``, ``passive``, or ``actpass`` until it is known.
    :ivar remote: what the other side has said of itself, ``remote_description`` as it came.
    :ivar wants_restart: whether the next offer asks for another path.
    :ivar sctp_seed: what our SCTP association is made with.
    :ivar peer_init: the INIT of the peer's, if both descriptions have one; None: they shake hands.
    """

    def __init__(self, fingerprint: bytes, association: AssociationSettings) -> None:
        self._fingerprint = fingerprint
        self._association = association
        self.signaling: SignalingState = "stable"
        self.mid = "0"
        self.setup = "actpass"
        self.remote: Remote | None = None
        self.remote_description: SessionDescription | None = None
        self.wants_restart = False
        self.sctp_seed = secrets.token_bytes(32)
        self.peer_init: bytes | None = None
        self._init = init_chunk(association, self.sctp_seed)
        self._described_init: bytes | None = None
        self._association_begun = False
        self._restarted = False  # our credentials are newer than the other side's
        self._session, self._version = secrets.randbits(62), 0
        self._local_type: str | None = None

    @property
    def line(self) -> int:
        """Where our section stands."""
        return 0 if self.remote is None else self.remote.section.line

    @property
    def sped(self) -> bool | None:
        """Whether both sides have checks carry DTLS; None: the other has not described itself."""
        return None if self.remote is None else bool(self._common_options())

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes; 0: any (RFC 8841 section 6)."""
        size = None if self.remote is None else self.remote.max_message_size
        return UNANNOUNCED_MESSAGE_SIZE if size is None else size

    def describe(self) -> bool:
        """A description of ours comes next: an answer if there is an offer to answer, else an
        offer. Whether ICE is to restart for it, if it has begun.
        """
        answering = self.signaling == "have-remote-offer"
        begun = self._local_type is not None or self.remote is not None
        # An offer to restart that nothing has answered is made again as it was, so that either
        # may be answered: which of them an answer is to, it does not say.
        restarts = self.wants_restart and not answering and begun and not self._restarted
        if restarts:
            self._restarted = True
        self.wants_restart = False
        self._version += 1
        self._local_type = "answer" if answering else "offer"
        # Each description has the same, and none has it that an association has begun without.
        shown = self.peer_init is not None or not (answering or self._association_begun)
        self._described_init = self._init if shown else None
        self.signaling = "stable" if answering else "have-local-offer"
        return restarts

    def local_description(
        self, ufrag: str, password: str, candidates: list[Candidate], complete: bool
    ) -> SessionDescription | None:
        """Our latest description; None before the first.

        :param ufrag: and ``password``: our ICE credentials.
        :param candidates: those that were found so far.
        :param complete: whether no candidate follows.
        """
        if self._local_type is None:
            return None
        answering = self._local_type == "answer"
        sdp = write(
            session=self._session,
            version=self._version,
            mid=self.mid,
            ufrag=ufrag,
            password=password,
            fingerprint=self._fingerprint,
            setup=self.setup if answering else "actpass",
            sctp_port=self._association.local_port,
            max_message_size=self._association.max_message_size,
            sctp_init=self._described_init,
            ice_options=("trickle", *(self._common_options() if answering else SPED_OPTIONS)),
            candidates=candidates,
            complete=complete,
            answers=self.remote if answering else None,
        )
        return SessionDescription(sdp, self._local_type)

    def take(self, description: SessionDescription) -> tuple[Remote, bool]:
        """Take the other side's description, and tell whether ICE is to restart for it.

        Raises InvalidDescription if it cannot be used, or is an answer to nothing; IdentityChanged
        if it names another certificate than the one that was met.
        """
        offered = description.type == "offer"
        remote = read(description.sdp)
        if remote.section.others and not offered:
            raise InvalidDescription("the answer has sections that were not offered")
        if not offered and self.signaling != "have-local-offer":
            raise InvalidDescription("an answer to no offer")
        before = self.remote
        if before is not None and set(before.fingerprints) != set(remote.fingerprints):
            raise IdentityChanged("the other side goes on with another certificate")
        self.peer_init = self._agreed_init(remote.sctp_init)
        self.remote, self.remote_description = remote, description
        self.signaling = "have-remote-offer" if offered else "stable"
        if offered:
            self.mid = remote.section.mid or "0"
        if before is None:
            self._choose_role(remote.setup, offered)
        restarts = False
        if not offered:
            self._restarted = False
        elif before is not None and before.ufrag != remote.ufrag:
            # The other side restarts, and so do we (RFC 8839 section 4.4.1.1.1). If our own offer
            # to do so has crossed it, our credentials are new already.
            restarts, self._restarted = not self._restarted, False
        return remote, restarts

    def _common_options(self) -> list[str]:
        known = (*SPED_OPTIONS, OLDER_SPED_OPTION)
        return [one for one in known if self.remote and one in self.remote.ice_options]

    def begin_association(self) -> bytes | None:
        """The association begins, which no description changes from now on: :attr:`peer_init`."""
        self._association_begun = True
        return self.peer_init

    def _agreed_init(self, theirs: bytes | None) -> bytes | None:
        """The :attr:`peer_init` that follows from the other side's description."""
        if theirs == self._init:
            theirs = None  # libdatachannel repeats in its answer what it does not know
        elif theirs is not None and not is_init(theirs):
            raise InvalidDescription(f"sctp-init is not an INIT chunk: {theirs.hex()}")
        if not self._association_begun:
            return theirs
        if theirs not in (None, self.peer_init):
            raise InvalidDescription("sctp-init is of another association than the one that runs")
        return self.peer_init

    def _choose_role(self, theirs: str, offered: bool) -> None:
        """Decide which side begins DTLS (RFC 8842 section 5)."""
        if offered:
            self.setup = "passive" if theirs == "active" else "active"
        else:
            # An answer decides; one that does not is of a peer that means to begin.
            self.setup = "active" if theirs == "passive" else "passive"
