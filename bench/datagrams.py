"""How large are the UDP payloads of every stack? (Linux; needs the right to capture packets.)"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
import time
from pathlib import Path

import uvloop

from bench.compare import add_stacks, compare
from bench.processes import Process
from bench.report import Row, environment, medians, parser, report
from bench.stacks import versions

SECONDS = 0.3
MESSAGE_BYTES = 64 * 1024

SOL_PACKET, PACKET_VNET_HDR = 263, 15  # linux/socket.h, linux/if_packet.h
VNET_HEADER = struct.Struct("=BBHHHH")  # linux/virtio_net.h; the fourth is gso_size
ETHERNET, UDP_HEADER, IPV4, IPV6 = 14, 8, 0x0800, 0x86DD


def main() -> None:
    arguments_parser = parser("bench.datagrams", __doc__, runs=1)
    add_stacks(arguments_parser)
    arguments = arguments_parser.parse_args()
    try:
        rows, failures = uvloop.run(compare(arguments.stacks, arguments.runs, _measure))
    except PermissionError:
        sys.exit("capturing packets is not allowed: run this as root")
    report(
        arguments.json,
        medians(rows, "stack"),
        line=lambda row: f"{row['stack']:15} {row['largest_udp_payload']:5.0f} bytes",
        settings={"runs": arguments.runs, "failures": failures},
        facts=environment(**versions()),
    )


async def _measure(offerer: Process, answerer: Process) -> list[Row]:
    ports = _ports(offerer.pid) | _ports(answerer.pid)
    capturing = asyncio.ensure_future(asyncio.to_thread(_largest, ports))
    offerer.tell("bulk", message_bytes=MESSAGE_BYTES, seconds=SECONDS)
    await answerer.hear("received", SECONDS)
    await offerer.hear("sent")
    return [{"largest_udp_payload": await capturing}]


def _ports(pid: int) -> set[int]:
    """The UDP ports of a process."""
    inodes = {
        found[1]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if (found := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    lines = [
        line.split()
        for name in ("udp", "udp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[9] in inodes}


def _largest(ports: set[int]) -> int:
    """The largest payload that goes from one of ``ports`` to another within ``SECONDS``."""
    largest = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0003)) as capture:
        capture.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        capture.bind(("lo", 0x0003))
        capture.settimeout(0.1)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                packet = capture.recv(256)
            except TimeoutError:
                continue
            segment = VNET_HEADER.unpack_from(packet)[3]
            (kind,) = struct.unpack_from("!H", packet, VNET_HEADER.size + ETHERNET - 2)
            at = VNET_HEADER.size + ETHERNET
            if kind == IPV4 and packet[at + 9] == socket.IPPROTO_UDP:
                at += (packet[at] & 0x0F) * 4
            elif kind == IPV6 and packet[at + 6] == socket.IPPROTO_UDP:
                at += 40
            else:
                continue
            source, target, length = struct.unpack_from("!HHH", packet, at)
            if {source, target} <= ports:
                # Of a batch that the kernel has not cut up yet, the packets are what counts.
                largest = max(largest, segment or length - UDP_HEADER)
    return largest


if __name__ == "__main__":
    main()
