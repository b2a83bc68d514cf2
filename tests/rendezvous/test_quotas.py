"""Who has had enough relayed. tests/rendezvous/test_usage.py has coturn tell of it."""

from __future__ import annotations

import pytest

from peerfetch_fast.rendezvous import quotas as module
from peerfetch_fast.rendezvous.quotas import PERIOD, Quotas, QuotaSettings


def test_bytes_of_all_relays_of_an_account_count_for_it_alone() -> None:
    quotas = Quotas(QuotaSettings(size=100, time=0))
    quotas.began("1", "anna", 0)
    quotas.began("2", "anna", 0)
    quotas.began("3", "bert", 0)
    quotas.carried("1", 60, 1)
    quotas.carried("3", 60, 1)
    assert not quotas.refused(1)
    quotas.carried("2", 40, 1)
    assert quotas.refused(1) == ["1", "2"]
    assert quotas.refuses("anna", 1)
    assert not quotas.refuses("bert", 1)
    assert not quotas.refuses("nobody", 1)
    assert quotas.relayed == 160


def test_an_account_that_ends_its_relays_and_makes_others_has_the_same_account() -> None:
    quotas = Quotas(QuotaSettings(size=100, time=50))
    for number in range(5):
        quotas.began(str(number), "anna", number)
        quotas.carried(str(number), 19, number)
        quotas.ended(str(number), number + 0.5)
    assert not quotas.refuses("anna", 5)
    quotas.began("5", "anna", 5)
    quotas.carried("5", 5, 5)
    assert quotas.refused(5) == ["5"]


def test_the_time_of_all_relays_is_counted_together() -> None:
    quotas = Quotas(QuotaSettings(size=0, time=100))
    quotas.began("1", "anna", 0)
    quotas.began("2", "anna", 10)
    assert not quotas.refused(54.9)
    assert quotas.refused(55) == ["1", "2"]
    quotas.ended("1", 55)
    quotas.ended("2", 55)
    quotas.ended("2", 90)
    assert quotas.refuses("anna", 90)


def test_a_day_after_it_began_an_account_begins_anew() -> None:
    quotas = Quotas(QuotaSettings(size=100, time=0))
    quotas.began("1", "anna", 7)
    quotas.carried("1", 100, 8)
    assert quotas.refuses("anna", PERIOD + 6.9)
    assert not quotas.refuses("anna", PERIOD + 7)
    quotas.carried("1", 99, PERIOD + 8)
    assert not quotas.refuses("anna", PERIOD + 8)


def test_without_quotas_nobody_is_refused() -> None:
    quotas = Quotas(QuotaSettings(size=0, time=0))
    quotas.began("1", "anna", 0)
    quotas.carried("1", 1 << 50, 1)
    assert not quotas.refused(PERIOD - 1)


def test_a_turn_server_that_has_ended_has_no_relays_and_forgives_nobody() -> None:
    quotas = Quotas(QuotaSettings(size=10, time=0))
    quotas.began("1", "anna", 0)
    quotas.carried("1", 10, 1)
    quotas.all_ended(2)
    assert quotas.relays == 0
    assert not quotas.refused(2)
    assert quotas.refuses("anna", 2)


def test_who_is_remembered_is_bounded_and_who_has_relays_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_ACCOUNTS", 3)
    quotas = Quotas(QuotaSettings(size=10, time=0))
    quotas.began("0", "anna", 0)
    quotas.carried("0", 10, 0)
    for number in range(1, 10):
        quotas.began(str(number), f"one of many {number}", number)
        quotas.ended(str(number), number)
    assert len(quotas._accounts) == 3
    assert quotas.refuses("anna", 10)


def test_quotas_are_not_negative() -> None:
    for settings in ({"size": -1}, {"time": -1.0}, {"time": float("nan")}):
        with pytest.raises(ValueError, match="negative"):
            QuotaSettings(**settings)  # type: ignore[arg-type]
