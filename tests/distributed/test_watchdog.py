"""The thread that ends a process that waits too long."""

import threading

import pytest

from gpunn.distributed.watchdog import Watchdog


@pytest.mark.parametrize(
    ("timeout", "trouble", "says"),
    [
        (0.1, "", "rank 3 has waited 0.1 s for the other ranks (a sum)"),
        (1, "it has failed", "rank 3 waits for the other ranks (a sum), but it has failed. A rank"),
    ],
)
def test_a_wait_in_vain_ends_all(timeout, trouble, says, capfd):
    ended = threading.Event()
    watchdog = Watchdog(timeout, ended.set, 3, lambda: trouble)
    watchdog.start()
    with watchdog.waiting("a sum"):
        assert ended.wait(60)
    assert says in capfd.readouterr().err


def test_trouble_is_asked_for_only_while_something_waits():
    asked = threading.Event()
    watchdog = Watchdog(0.1, lambda: None, trouble=lambda: asked.set() or "")
    watchdog.start()
    assert not asked.wait(0.1)
    with watchdog.waiting("a sum"):
        assert asked.wait(60)
    watchdog.stop()


def test_a_wait_that_was_cut_off_does_not_return_before_the_end():
    cut, order = threading.Event(), []

    def end():
        cut.set()
        threading.Event().wait(0.2)  # the process still lives
        order.append("ended")

    watchdog = Watchdog(0.1, end)
    watchdog.start()
    with watchdog.waiting("a sum"):
        assert cut.wait(60)
    order.append("returned")
    assert order == ["ended", "returned"]
