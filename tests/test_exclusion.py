import threading

import pytest

from gpunn.errors import ConcurrentUseError
from gpunn.exclusion import Exclusion


def in_thread(function):
    """Call a function in a thread of its own, and return its result, or the error."""
    results = []

    def work():
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def enter(exclusion, training=False):
    """Ask another thread to have the network for a moment."""

    def moment():
        with exclusion.held("evaluate", training=training):
            return "entered"

    return in_thread(moment)


def test_training_is_an_error_for_other_threads():
    exclusion = Exclusion()
    with exclusion.held("fit", training=True):
        for training in (False, True):
            error = enter(exclusion, training)
            assert isinstance(error, ConcurrentUseError)
            assert str(error).startswith("evaluate: another thread is training this network")
    assert enter(exclusion) == "entered"


def test_the_same_thread_may_ask_again():
    exclusion = Exclusion()
    with exclusion.held("fit", training=True):
        with exclusion.held("evaluate", training=False):
            assert isinstance(enter(exclusion), ConcurrentUseError)
        assert isinstance(enter(exclusion), ConcurrentUseError)
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
