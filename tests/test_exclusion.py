import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpunn.errors import ConcurrentUseError
from gpunn.exclusion import Exclusion


def enter(exclusion, training=False):
    """Have another thread take the network for a moment."""

    def moment():
        with exclusion.held("evaluate", training=training):
            return "entered"

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(moment).result()


def test_the_same_thread_may_ask_again():
    exclusion = Exclusion()
    with exclusion.held("fit", training=True):
        with exclusion.held("evaluate", training=False), pytest.raises(ConcurrentUseError):
            enter(exclusion)
        with pytest.raises(ConcurrentUseError):
            enter(exclusion)
    assert enter(exclusion) == "entered"


def test_others_wait_for_an_evaluation():
    exclusion, order = Exclusion(), []
    asking = threading.Event()

    def wait():
        asking.set()
        with exclusion.held("fit", training=True):
            order.append("fit")

    other = threading.Thread(target=wait)
    with exclusion.held("evaluate", training=False):
        other.start()
        assert asking.wait(60)
        order.append("evaluate")
    other.join()
    assert order == ["evaluate", "fit"]


def test_an_error_ends_it():
    exclusion = Exclusion()
    with pytest.raises(ZeroDivisionError), exclusion.held("fit", training=True):
        raise ZeroDivisionError
    assert enter(exclusion) == "entered"
