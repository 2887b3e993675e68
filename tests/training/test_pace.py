import pytest

from gpunn.training import pace as module
from gpunn.training.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def ask(pace, clock, updates, seconds):
    pace.begin()
    clock[0] += seconds
    pace.end(updates)


def test_requests_grow_while_they_are_short(clock):
    pace = Pace(seconds=1.0)
    for expected in (2, 4, 8):
        ask(pace, clock, pace.updates, 0.1)
        assert pace.updates == expected


def test_requests_stay_as_they_are_in_between(clock):
    pace = Pace(seconds=1.0)
    ask(pace, clock, 1, 0.7)
    assert pace.updates == 1


def test_a_request_that_was_cut_short_says_nothing(clock):
    pace = Pace(seconds=1.0)
    pace.updates = 8
    ask(pace, clock, 3, 0.1)
    assert pace.updates == 8


def test_requests_shrink_when_they_take_too_long_but_never_to_nothing(clock):
    pace = Pace(seconds=1.0)
    pace.updates = 2
    for expected in (1, 1):
        ask(pace, clock, pace.updates, 5.0)
        assert pace.updates == expected
