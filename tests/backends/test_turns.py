import os
import subprocess
import sys
import threading

import pytest

from gpunn.backends import turns
from gpunn.backends.turns import TURNS, Turns


def test_a_thread_has_its_turn_before_the_other_has_the_next(monkeypatch):
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


def test_nobody_waits_so_there_is_no_pause(monkeypatch):
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: pytest.fail("a pause"))
    with TURNS, TURNS:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_turns_though_a_thread_of_its_parent_had_its_own():
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
