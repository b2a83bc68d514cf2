"""How fast is the stream engine alone, on one core, both sides and the credit included?"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pyperf

from bench.report import Row, environment, report
from peerfetch_fast._framing import Engine, EngineStream
from peerfetch_fast.settings import Settings

BULK_SIZE = 64 << 20
BULK_CHUNK = 16 * 1024
SMALL_COUNT = 100_000
SMALL_SIZE = 100
BATCH_BYTES = Settings().send_buffer
"""What a session lets a writer run ahead, and so what passes through the engine at a time."""


def main() -> None:
    runner = pyperf.Runner(processes=5, values=3, program_args=("-m", "bench.framing"))
    runner.argparser.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    runner.argparser.set_defaults(inherit_environ=["PYTHONPATH"], quiet=True)
    arguments = runner.parse_args()

    bulk = _pieces(BULK_SIZE, BULK_CHUNK)
    small = _pieces(SMALL_COUNT * SMALL_SIZE, SMALL_SIZE)
    results: list[Row] = []
    measured = runner.bench_time_func("bulk", _bulk, bulk)
    if measured is not None and not arguments.worker:
        seconds = measured.median()
        results.append(
            {
                "measured": "bulk",
                "chunk_bytes": BULK_CHUNK,
                "bytes": BULK_SIZE,
                "mb_per_s": BULK_SIZE / 1e6 / seconds,
                "runs": measured.get_nvalue(),
            }
        )
    measured = runner.bench_time_func("messages", _messages, small)
    if measured is not None and not arguments.worker:
        seconds = measured.median()
        results.append(
            {
                "measured": "messages",
                "message_bytes": SMALL_SIZE,
                "messages": SMALL_COUNT,
                "messages_per_s": SMALL_COUNT / seconds,
                "runs": measured.get_nvalue(),
            }
        )
    if not arguments.worker:
        report(
            arguments.json,
            results,
            line=_line,
            settings={"processes": arguments.processes, "values": arguments.values},
            facts=environment(pyperf=pyperf.__version__),
        )


def _line(row: Row) -> str:
    if row["measured"] == "bulk":
        return f"bulk, {row['chunk_bytes']} B chunks: {row['mb_per_s']:.0f} MB/s"
    return f"messages of {row['message_bytes']} B: {row['messages_per_s'] / 1e6:.2f} million/s"


def _pieces(total: int, length: int) -> list[bytes]:
    """Distinct pieces, so that what is read comes from memory and can be told apart."""
    noise = random.Random(total).randbytes(total)
    return [noise[at : at + length] for at in range(0, total, length)]


def _connected() -> tuple[Engine, EngineStream, Engine, EngineStream]:
    """Two engines that have heard of each other's settings, and both ends of a stream."""
    sender = Engine(Settings(), opener=True, now=0.0)
    receiver = Engine(Settings(), opener=False, now=0.0)
    for source, target in ((sender, receiver), (receiver, sender)):
        while (message := source.next_message(0.0)) is not None:
            target.receive(message, 0.0)
    outgoing = sender.open()
    assert outgoing is not None
    outgoing.write(b"!")
    opening = sender.next_message(0.0)
    assert opening is not None
    receiver.receive(opening, 0.0)
    (incoming,) = receiver.take_dirty()
    incoming.take_flags()
    _same([incoming.read() or b""], [b"!"])
    return sender, outgoing, receiver, incoming


def _same(received: list[bytes], sent: list[bytes]) -> None:
    if b"".join(received) != b"".join(sent):
        sys.exit("the bytes that were read differ from those that were written")


def _bulk(loops: int, pieces: list[bytes]) -> float:
    """Write, encode, decode, read; a writer's lead at a time, as the session does it."""
    batch = BATCH_BYTES // BULK_CHUNK
    spent = 0.0
    for _ in range(loops):
        sender, outgoing, receiver, incoming = _connected()
        for at in range(0, len(pieces), batch):
            sent = pieces[at : at + batch]
            received = []
            began = time.perf_counter()
            for piece in sent:
                outgoing.write(piece)
            while (message := sender.next_message(0.0)) is not None:
                receiver.receive(message, 0.0)
            while (data := incoming.read()) is not None:
                received.append(data)
            if receiver.owes:
                while (message := receiver.next_message(0.0)) is not None:
                    sender.receive(message, 0.0)
            spent += time.perf_counter() - began
            _same(received, sent)
    return spent


def _messages(loops: int, pieces: list[bytes]) -> float:
    """Each write leaves in a message of its own and is read before the next."""
    spent = 0.0
    for _ in range(loops):
        sender, outgoing, receiver, incoming = _connected()
        received = []
        began = time.perf_counter()
        for piece in pieces:
            outgoing.write(piece)
            message = sender.next_message(0.0)
            assert message is not None
            receiver.receive(message, 0.0)
            received.append(incoming.read() or b"")
            if receiver.owes:
                credit = receiver.next_message(0.0)
                assert credit is not None
                sender.receive(credit, 0.0)
        spent += time.perf_counter() - began
        _same(received, pieces)
    return spent


if __name__ == "__main__":
    main()
