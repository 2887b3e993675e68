import threading

import pytest

from gpunn.backends import turns
from gpunn.backends.turns import TURNS, Turns


def test_threads_take_turns_alternately(monkeypatch):
    lock, order, began = Turns(), [], threading.Event()

    def other():
        with lock:
            order.append("other")
            began.set()

    waiting = threading.Thread(target=other)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        assert began.wait(60)

    monkeypatch.setattr(turns.time, "sleep", sleep)
    with lock:
        order.append("first")
        waiting.start()
        while not lock._waiting:  # repeat until the thread has reached this point
            pass
    with lock:
        order.append("first again")
    waiting.join()
    assert order == ["first", "other", "first again"]
    assert pauses == [turns.HANDOVER]


def test_there_is_no_pause_without_a_waiting_thread(monkeypatch):
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: pytest.fail("a pause"))
    with TURNS, TURNS:
        pass
