import pytest

from gpunn.training import step_batching as module
from gpunn.training.step_batching import StepBatching


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def at_pace(clock, seconds, *, queued=0.0):
    """Return a pace and a function that makes a request, of which `queued` is the device's part."""
    waited = []

    def wait():
        waited.append(True)
        clock[0] += queued

    pace = StepBatching(wait, seconds)

    def ask(updates, took=0.0):
        pace.begin()
        clock[0] += took
        pace.end(updates)
        return len(waited)

    return pace, ask


def test_requests_grow_while_they_are_short(clock):
    pace, ask = at_pace(clock, 1.0)
    for expected in (2, 4, 8):
        ask(pace.updates, 0.1)
        assert pace.updates == expected


def test_requests_stay_as_they_are_in_between(clock):
    pace, ask = at_pace(clock, 1.0)
    ask(1, 0.7)
    assert pace.updates == 1


def test_a_request_that_was_cut_short_says_nothing_and_is_not_waited_for(clock):
    pace, ask = at_pace(clock, 1.0)
    pace.updates = 8
    assert ask(3, 0.1) == 0
    assert pace.updates == 8
    assert ask(8, 0.7) == 1


def test_requests_shrink_when_they_take_too_long_but_never_to_nothing(clock):
    pace, ask = at_pace(clock, 1.0)
    pace.updates = 2
    for expected in (1, 1):
        ask(pace.updates, 5.0)
        assert pace.updates == expected


def test_what_a_device_has_still_to_do_counts(clock):
    """Asking takes no time at all; each of the requests takes the device long."""
    pace, ask = at_pace(clock, 1.0, queued=3.0)
    pace.updates = 8
    for expected in (4, 2, 1, 1):
        ask(pace.updates)
        assert pace.updates == expected
