"""Ctrl-C is kept while something is begun, and happens as soon as it can be undone."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from utvm.support.interrupts import interrupts_held


def test_an_interrupt_waits_for_the_release() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts_held() as release:
        signal.raise_signal(signal.SIGINT)
        steps.append("begun")
        try:
            release()
            steps.append("not reached")
        finally:
            steps.append("undone")
    assert steps == ["begun", "undone"]
    assert signal.getsignal(signal.SIGINT) is before


def test_after_the_release_interrupts_come_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_held() as release:
        release()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("not reached")


def test_an_interrupt_is_not_lost_with_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("the start failed")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_need_no_hold() -> None:
    def hold() -> str:
        with interrupts_held() as release:
            release()
            return "held"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(hold).result() == "held"
