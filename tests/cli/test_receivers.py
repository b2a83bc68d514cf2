"""What the one who shares is shown of those who receive."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from peerfetch_fast.cli.receivers import Board
from peerfetch_fast.sharing.receivers import Receiver


async def test_each_receiver_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(False, asyncio.Event())
    for number in range(100):  # each is forgotten before the next one comes
        board.changed(Receiver(name=f"number {number}", state="done"))
    assert capsys.readouterr().out.count("all, verified") == 100


async def test_no_answer_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert not await Board(False, asyncio.Event()).ask(Receiver())
