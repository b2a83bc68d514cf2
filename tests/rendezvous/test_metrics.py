"""What is counted, as Prometheus reads it. tests/cli/test_rendezvous.py asks a server for it."""

from __future__ import annotations

from peerfetch_fast.rendezvous.metrics import Counted, exposition


def test_each_line_is_a_name_and_a_number_and_says_of_what_kind() -> None:
    counted = Counted(
        clients=3,
        certificate_expires=1_800_000_000,
        relays=2,
        relayed=7,
        relays_cut=1,
        tls_relayed=5,
        refused={"bad-id": 2},
    )
    assert exposition(counted).splitlines() == [
        "# TYPE peerfetch_clients gauge",
        "peerfetch_clients 3",
        "# TYPE peerfetch_certificate_expiry_timestamp_seconds gauge",
        "peerfetch_certificate_expiry_timestamp_seconds 1800000000",
        "# TYPE peerfetch_relays gauge",
        "peerfetch_relays 2",
        "# TYPE peerfetch_tls_relays gauge",
        "peerfetch_tls_relays 0",
        "# TYPE peerfetch_coturn_starts_total counter",
        "peerfetch_coturn_starts_total 0",
        "# TYPE peerfetch_relayed_bytes_total counter",
        "peerfetch_relayed_bytes_total 7",
        "# TYPE peerfetch_relays_cut_total counter",
        "peerfetch_relays_cut_total 1",
        "# TYPE peerfetch_tls_relayed_bytes_total counter",
        "peerfetch_tls_relayed_bytes_total 5",
        "# TYPE peerfetch_refused_total counter",
        'peerfetch_refused_total{reason="bad-id"} 2',
    ]
    assert exposition(counted).endswith("\n")
