from __future__ import annotations

from peerfetch_fast.signaling.peerjs.heartbeat import Heartbeat


def test_a_sign_of_life_is_due_once_an_interval() -> None:
    heartbeat = Heartbeat(interval=5.0, dead_after=15.0, now=100.0)
    assert heartbeat.deadline == 105.0
    assert not heartbeat.is_due(104.9)
    assert heartbeat.is_due(105.0)
    assert not heartbeat.is_due(105.0)
    assert heartbeat.deadline == 110.0


def test_silence_is_death_and_a_word_puts_it_off() -> None:
    heartbeat = Heartbeat(interval=5.0, dead_after=15.0, now=100.0)
    assert not heartbeat.is_dead(114.9)
    heartbeat.heard(114.9)
    assert not heartbeat.is_dead(129.8)
    assert heartbeat.is_dead(129.9)


def test_the_deadline_is_the_earlier_of_the_two() -> None:
    heartbeat = Heartbeat(interval=5.0, dead_after=6.0, now=0.0)
    assert heartbeat.is_due(5.0)
    assert heartbeat.deadline == 6.0


def test_one_that_is_doubted_is_asked_at_once_and_has_less_time() -> None:
    heartbeat = Heartbeat(interval=5.0, dead_after=15.0, now=100.0)
    heartbeat.doubt(101.0, patience=3.0)
    assert heartbeat.is_due(101.0)
    assert heartbeat.deadline == 104.0
    assert heartbeat.is_dead(104.0)
    heartbeat.heard(103.9)
    assert not heartbeat.is_dead(118.8)


def test_doubts_put_nothing_off() -> None:
    heartbeat = Heartbeat(interval=5.0, dead_after=15.0, now=100.0)
    heartbeat.doubt(114.0, patience=3.0)
    assert heartbeat.is_dead(115.0)
