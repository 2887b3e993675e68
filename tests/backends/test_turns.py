import os
import subprocess
import sys
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_takes_turns_even_if_it_forks_during_one():
    script = (
        "import os, threading\n"
        "from gpunn.backends.turns import TURNS\n"
        "held, leave = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with TURNS:\n"
        "        held.set()\n"
        "        leave.wait()\n"
        "holder = threading.Thread(target=hold)\n"
        "holder.start()\n"
        "held.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    with TURNS:\n"
        "        os._exit(7)\n"
        "leave.set()\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)
