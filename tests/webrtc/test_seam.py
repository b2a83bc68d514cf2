"""The private names of aiortc and aioice that the seam stands on, where they were when it was
tested. A failure here says what moved; the seam's own tests say what follows from it."""

from __future__ import annotations

import inspect
from typing import Any

import aioice.ice
import aiortc
import aiortc.rtcicetransport
import pytest
from aioice import mdns, stun, turn
from aiortc import RTCCertificate, RTCDataChannel, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.sdp import MediaDescription, SessionDescription
from OpenSSL import SSL

from peerfetch_fast.webrtc._seam import ice
from peerfetch_fast.webrtc._seam.gatherer import RTCIceGatherer
from peerfetch_fast.webrtc._seam.ice import Connection, StunProtocol

PEER = "_RTCPeerConnection__"

METHODS: list[tuple[Any, str, list[str]]] = [
    (aiortc.RTCPeerConnection, f"{PEER}createDtlsTransport", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}createSctpTransport", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}assertNotClosed", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}connect", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}localDescription", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}updateConnectionState", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}updateIceConnectionState", ["self"]),
    (aiortc.RTCPeerConnection, f"{PEER}updateIceGatheringState", ["self"]),
    (RTCIceGatherer, "_RTCIceGatherer__setState", ["self", "state"]),
    (RTCIceTransport, "__init__", ["self", "gatherer"]),
    (RTCDtlsTransport, "__init__", ["self", "transport", "certificates"]),
    (RTCDtlsTransport, "_RTCDtlsTransport__run", ["self"]),
    (RTCDtlsTransport, "_get_stats", ["self"]),
    (RTCDtlsTransport, "_recv_next", ["self"]),
    (RTCDtlsTransport, "_register_rtp_receiver", ["self", "receiver", "parameters"]),
    (RTCDtlsTransport, "_register_rtp_sender", ["self", "sender", "parameters"]),
    (RTCDtlsTransport, "_set_role", ["self", "role"]),
    (RTCDtlsTransport, "_set_state", ["self", "state"]),
    (RTCDtlsTransport, "_setup_srtp", ["self"]),
    (RTCDtlsTransport, "start", ["self", "remoteParameters"]),
    (RTCDtlsTransport, "stop", ["self"]),
    (RTCSctpTransport, "__init__", ["self", "transport", "port"]),
    (RTCSctpTransport, "_data_channel_add_negotiated", ["self", "channel"]),
    (RTCSctpTransport, "_data_channel_close", ["self", "channel"]),
    (RTCSctpTransport, "_data_channel_open", ["self", "channel"]),
    (RTCSctpTransport, "start", ["self", "remoteCaps", "remotePort"]),
    (RTCSctpTransport, "stop", ["self"]),
    (RTCDataChannel, "__init__", ["self", "transport", "parameters", "send_open"]),
    (RTCDataChannel, "_setReadyState", ["self", "state"]),
    (Connection, "_add_remote_candidate", ["self", "remote_candidate", "network_host"]),
    (Connection, "_check_list_maybe_complete", ["self"]),
    (Connection, "_check_list_maybe_fail", ["self"]),
    (Connection, "_end_remote_candidates", ["self"]),
    (Connection, "_pair_remote_candidate", ["self", "remote_candidate"]),
    (Connection, "_remote_candidates_expected", ["self"]),
    (Connection, "check_complete", ["self", "pair"]),
    (Connection, "check_incoming", ["self", "message", "addr", "protocol"]),
    (Connection, "check_start", ["self", "pair"]),
    (Connection, "check_state", ["self", "pair", "state"]),
    (Connection, "data_received", ["self", "data", "component"]),
    (Connection, "get_event", ["self"]),
    (Connection, "request_received", None),
    (Connection, "respond_error", ["self", "request", "addr", "protocol", "error_code"]),
    (Connection, "sort_check_list", ["self"]),
    (StunProtocol, "__init__", ["self", "receiver"]),
    (StunProtocol, "connection_made", ["self", "transport"]),
    (StunProtocol, "connection_lost", ["self", "exc"]),
    (StunProtocol, "datagram_received", ["self", "data", "addr"]),
    (StunProtocol, "send_stun", ["self", "message", "addr"]),
    (aioice.ice, "get_host_addresses", ["use_ipv4", "use_ipv6"]),
    (ice, "get_or_create_mdns_protocol", ["subscriber"]),
    (aioice.ice, "server_reflexive_candidate", ["protocol", "stun_server"]),
    (
        ice,
        "relayed_candidate",
        [
            "component",
            "hide_related_address",
            "protocol_factory",
            "turn_server",
            "turn_username",
            "turn_password",
            "turn_ssl",
            "turn_transport",
        ],
    ),
    (aioice.candidate, "candidate_foundation", None),
    (aioice.candidate, "candidate_priority", None),
    (aiortc.rtcicetransport, "candidate_from_aioice", ["x"]),
    (aiortc.rtcicetransport, "connection_kwargs", ["servers"]),
    (mdns, "is_mdns_hostname", None),
    (stun, "parse_message", None),
]


@pytest.mark.parametrize(
    ("owner", "name", "parameters"), METHODS, ids=[name for _, name, _ in METHODS]
)
def test_each_method_that_is_overridden_has_its_parameters(
    owner: Any, name: str, parameters: list[str] | None
) -> None:
    method = getattr(owner, name)
    if parameters is not None:
        assert list(inspect.signature(method).parameters) == parameters


async def test_attributes_of_a_peer_connection() -> None:
    connection = aiortc.RTCPeerConnection()
    assert getattr(connection, f"{PEER}isClosed") is None
    assert getattr(connection, f"{PEER}sctp") is None
    assert isinstance(getattr(connection, f"{PEER}certificates"), list)
    assert isinstance(getattr(connection, f"{PEER}configuration"), aiortc.RTCConfiguration)
    assert isinstance(getattr(connection, f"{PEER}transceivers"), list)
    assert isinstance(getattr(connection, f"{PEER}dtlsTransports"), set)
    assert isinstance(getattr(connection, f"{PEER}iceTransports"), set)
    await connection.close()


async def test_attributes_of_a_connection() -> None:
    connection = Connection(ice_controlling=True)
    for name, kind in {
        "_check_list": list,
        "_closing": bool,
        "_components": set,
        "_early_checks_done": bool,
        "_local_candidates": list,
        "_local_candidates_end": bool,
        "_local_candidates_start": bool,
        "_nominated": dict,
        "_protocols": list,
        "_queue": object,
        "_remote_candidates": list,
        "_remote_candidates_end": bool,
        "_remote_candidates_resolving": int,
        "_transport_policy": aioice.TransportPolicy,
        "_use_ipv4": bool,
        "_use_ipv6": bool,
    }.items():
        assert isinstance(getattr(connection, name), kind), name
    assert connection._query_consent_task is None
    assert RTCIceGatherer(iceServers=[])._connection.local_candidates == []


async def test_attributes_of_the_transports() -> None:
    transport = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    assert isinstance(transport._connection, aioice.Connection)
    dtls = RTCDtlsTransport(transport, [RTCCertificate.generateCertificate()])
    assert dtls._role == "auto"
    assert dtls._state.name == "NEW"
    assert dtls._srtp_profiles
    assert dtls._ssl is dtls._task is dtls._rx_srtp is None
    assert getattr(dtls, "_RTCDtlsTransport__rx_packets") == 0  # noqa: B009
    assert dtls._stats_id in dtls._get_stats()
    sctp = RTCSctpTransport(dtls)
    assert sctp.mid is None
    assert sctp._bundled is False
    assert sctp.port == 5000


def test_a_relay_can_be_given_up() -> None:
    assert "_TurnTransport__close_task" in turn.TurnTransport.close.__code__.co_names


def test_the_media_code_asks_openssl_for_nothing_new() -> None:
    """``_setup_srtp`` gets by with these; a new question must be answered in ``_Keys``."""
    names = set(RTCDtlsTransport._setup_srtp.__code__.co_names)
    methods = {name for name in names if hasattr(SSL.Connection, name)}
    assert methods == {"get_selected_srtp_profile", "export_keying_material"}
    assert "DTLSv1_get_timeout" in RTCDtlsTransport._recv_next.__code__.co_names


def test_attributes_of_a_description() -> None:
    media = MediaDescription(kind="application", port=9, profile="UDP/DTLS/SCTP", fmt=[])
    assert media.ice_candidates == []
    assert media.ice_candidates_complete is False
    assert media.dtls is None
    assert media.rtp.muxId == ""
    assert SessionDescription().media == []
