"""Test teams of threads, of which some start late or never."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn.backends.numpy.compiled.library import library
from gpunn.backends.numpy.compiled.program import Instruction, table_of
from gpunn.backends.numpy.compiled.team import Table, Team

SIZE = 3000
TIMES = 5


def program(out, total, parts):
    """Return the table of out = 1; out = out + out; parts = squares of each share; their sum."""
    ones = Instruction("fill", [out, SIZE, 1.0], writes=[out])
    doubled = Instruction("add", [out, out, SIZE], [out], [out])
    squares = Instruction("squares", [out, SIZE, parts], [out], [parts])
    summed = Instruction("sum_up", [parts, None, parts.size, total, 1], [parts], [total])
    return Table(table_of([ones, doubled, squares, summed], 3))


@pytest.fixture
def arrays():
    return np.zeros(SIZE), np.zeros(1), np.zeros(3)


def expect_result(out, total, parts):
    np.testing.assert_array_equal(out, 2.0)
    assert parts.min() > 0  # each share has a part
    assert total[0] == TIMES * 4.0 * SIZE


def test_all_threads_do_a_program(arrays):
    Team(3).run(program(*arrays), TIMES)
    expect_result(*arrays)


def test_the_shares_of_threads_that_never_come_are_done_by_others(arrays, monkeypatch):
    monkeypatch.setattr("threading.Thread.start", lambda thread: None)
    Team(3).run(program(*arrays), TIMES)
    expect_result(*arrays)


def test_threads_that_come_late_change_nothing(arrays, monkeypatch):
    """Workers that see a program late run no share twice."""
    team, entered = Team(3), library().run_as_worker

    def late(*arguments):
        time.sleep(0.001)  # usually long after the leader has finished
        return entered(*arguments)

    monkeypatch.setattr(library(), "run_as_worker", late)
    for _ in range(50):
        for array in arrays:
            array[:] = 0
        team.run(program(*arrays), TIMES)
        expect_result(*arrays)


def test_teams_of_several_threads_take_turns():
    team = Team(2)

    def work(_):
        arrays = np.zeros(SIZE), np.zeros(1), np.zeros(2)
        table = program(*arrays)
        for _ in range(20):
            team.run(table, TIMES)
        return float(arrays[1][0])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [20 * TIMES * 4.0 * SIZE] * 3
