from __future__ import annotations

from peerfetch_fast.errors import MemoryExceeded
from peerfetch_fast.streams.account import Account


def account(limit: int, parent: Account | None = None) -> tuple[Account, list[MemoryExceeded]]:
    made = Account(limit, setting="Settings.memory", parent=parent)
    told: list[MemoryExceeded] = []
    made.on_exceeded = told.append
    return made, told


def test_shares_add_up() -> None:
    one, told = account(100)
    first, second = one.share(), one.share()
    first.set(60)
    second.set(40)
    first.set(10)
    assert one.held == 50
    assert told == []


def test_more_than_the_limit_is_told_once() -> None:
    one, told = account(100)
    share = one.share()
    share.set(101)
    share.set(500)
    (error,) = told
    assert "101 of the 100 that Settings.memory allows" in str(error)


def test_of_all_the_one_that_holds_most_pays() -> None:
    everything = Account(100, setting="Limits.memory")
    hog, hog_told = account(1_000, everything)
    small, small_told = account(1_000, everything)
    hog.share().set(95)
    assert everything.held == 95
    small.share().set(6)
    assert [str(error).partition(":")[0] for error in hog_told] == [
        "95 bytes are held for this peer, and 101 of the 100 that Limits.memory allows"
    ]
    assert small_told == []


def test_a_closed_account_gives_all_back() -> None:
    everything = Account(100, setting="Limits.memory")
    one, told = account(50, everything)
    share = one.share()
    share.set(40)
    one.close()
    share.set(4_000)
    assert everything.held == 0
    assert told == []
