"""The time of networks, some of which are trained at the same time."""

import copy
import heapq
from types import SimpleNamespace

import pytest

from gpunn.sklearn.automatic import time_limit
from gpunn.sklearn.automatic.time_limit import REASON, Deadline, TimeLimit, TimeShare


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(time_limit, "clock", lambda: now.seconds)
    return now


@pytest.mark.parametrize(
    ("networks", "threads", "shortest"),
    [(1, 1, 60), (5, 1, 12), (5, 2, 20), (4, 2, 30), (3, 8, 60), (10, 4, 20)],
)
def test_networks_use_the_whole_time(clock, networks, threads, shortest):
    share, ends, times = TimeShare(60, networks, threads), [0.0] * threads, []
    for _ in range(networks):  # the next one begins in the thread that ends first
        clock.seconds = heapq.heappop(ends)
        end = share.begin()
        heapq.heappush(ends, end)
        times.append(end - clock.seconds)
    assert max(ends) == pytest.approx(60)
    assert min(times) >= shortest - 1e-9


def test_a_network_that_ends_early_leaves_its_time(clock):
    share = TimeShare(60, 3, 1)
    assert share.begin() == 20
    clock.seconds = 10.0
    assert share.begin() == 35
    clock.seconds = 99.0
    assert share.begin() == 60


def test_a_deadline_ends_training(clock):
    first = Deadline(TimeShare(60, 2, 1))
    callbacks = [first, copy.deepcopy(first)]
    trainer = SimpleNamespace(stop_reason="")
    for callback, end in zip(callbacks, (30, 60), strict=True):
        callback.on_train_begin(trainer)
        trainer.stop_reason = ""
        for clock.seconds in (end - 1, end):
            assert not trainer.stop_reason
            callback.on_epoch_end(trainer, {})
        assert trainer.stop_reason == REASON


def test_time_of_an_interrupted_call(clock):
    limit = TimeLimit(60)
    limit.use(20)
    clock.seconds = 15.0
    assert (limit.elapsed, limit.left) == (35, 25)
    assert TimeLimit(None).left == float("inf")
