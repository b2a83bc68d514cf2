from __future__ import annotations

from peerfetch_fast.signaling.connection import Budget


def test_a_budget_is_shared_and_never_overdrawn() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    assert not budget.take(1)
    budget.give_back(60)
    assert budget.take(60)
