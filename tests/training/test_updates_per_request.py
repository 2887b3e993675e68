import pytest

from gpunn.training import epoch as module
from gpunn.training.epoch import UpdatesPerRequest


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

    pace = UpdatesPerRequest(wait, seconds)

    def ask(updates, took=0.0):
        pace.begin()
        clock[0] += took
        pace.end(updates)
        return len(waited)

    return pace, ask


@pytest.mark.parametrize(
    ("updates", "took", "queued", "expected"),
    [
        (1, 0.1, 0.0, [2, 4, 8]),
        (1, 0.7, 0.0, [1, 1]),
        (2, 5.0, 0.0, [1, 1]),  # never none
        (8, 0.0, 3.0, [4, 2, 1, 1]),  # asking takes no time at all; each takes the device long
    ],
    ids=["short", "in between", "long", "long on the device"],
)
def test_requests_grow_or_shrink_by_the_time_they_take(clock, updates, took, queued, expected):
    pace, ask = at_pace(clock, 1.0, queued=queued)
    pace.updates, found = updates, []
    for _ in expected:
        ask(pace.updates, took)
        found.append(pace.updates)
    assert found == expected


def test_a_request_that_was_cut_short_says_nothing_and_is_not_waited_for(clock):
    pace, ask = at_pace(clock, 1.0)
    pace.updates = 8
    assert ask(3, 0.1) == 0
    assert pace.updates == 8
    assert ask(8, 0.7) == 1
