"""Items that a thread makes in advance."""

import threading
from unittest.mock import Mock

import pytest

from gpunn.data.prefetch import Prefetch


def numbers(made, until=6):
    for number in range(until):
        made.append(number)
        yield number


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_all_items_come_in_order(ahead):
    made = []
    with Prefetch(lambda: numbers(made), ahead) as items:
        assert list(items) == list(range(6))
        assert list(items) == []
    assert made == list(range(6))


def test_the_number_of_items_in_advance():
    """The third item is made only after the first is used."""
    made, reached = [], threading.Event()

    def watched():
        for number in range(9):
            made.append(number)
            if number == 1:
                reached.set()
            yield number

    with Prefetch(watched, 2) as items:
        reached.wait()
        assert made == [0, 1]
        assert next(items) == 0
    assert len(made) <= 3


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_exception_is_raised_after_the_items_before_it(ahead):
    def failing():
        yield 1
        raise OSError("gone")

    with Prefetch(failing, ahead) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="gone"):
            next(items)
        assert list(items) == []


@pytest.mark.parametrize("ahead", [0, 2])
def test_closing_ends_thread_and_generator(ahead):
    ended = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            ended.append(threading.current_thread())

    items = Prefetch(endless, ahead)
    next(items)
    items.close()
    items.close()
    assert len(ended) == 1
    assert not ended[0].is_alive() or not ahead
    with pytest.raises(StopIteration):
        next(items)


def test_making_the_iterator_may_fail():
    fail = Mock(side_effect=ValueError("no such folder"))
    with Prefetch(fail, 1) as items, pytest.raises(ValueError, match="no such folder"):
        next(items)
