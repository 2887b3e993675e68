import os
import subprocess
import sys

import pytest

from gpunn.sweep.process import is_gone, neighbours, this_process


def test_this_process_is_there():
    assert this_process()[1] == os.getpid()
    assert not is_gone(this_process())


def test_a_process_that_has_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    place = this_process()[0]
    assert is_gone([place, process.pid])
    assert not is_gone([f"not {place}", process.pid])  # of another machine nothing is known


@pytest.mark.parametrize("number", [0, -1, 1, "1", None, 2**80])
def test_what_is_no_process_of_ours_is_left_alone(number):
    assert not is_gone([this_process()[0], number])
    assert not is_gone(number)


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 4),
        ({"MPI_LOCALNRANKS": "3", "PMI_SIZE": "6"}, 3),
        ({"MPI_LOCALNRANKS": "many"}, 1),
    ],
)
def test_how_many_were_started_here(environment, count):
    assert neighbours(environment) == count
