import os
import subprocess
import sys

import pytest

from gpunn.distributed.launch import local_device
from gpunn.sweep.process import is_gone, neighbors, this_process


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
    ("environment", "place"),
    [
        ({}, (0, 1)),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, (3, 4)),
        ({"MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "3", "PMI_SIZE": "6"}, (0, 3)),
        ({"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x4)"}, (1, 2)),
        ({"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x4),1"}, (0, 1)),
        ({"MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "many"}, (0, 1)),
    ],
)
def test_which_of_the_processes_here_this_is(environment, place):
    found = neighbors(environment)
    assert (found.local_rank, found.local_size) == place
    assert found.size == 1


def test_each_process_has_a_device_of_its_own(monkeypatch):
    names = ["numpy", *(f"cupy:{number}" for number in range(4))]
    monkeypatch.setattr("gpunn.distributed.launch.available_backends", lambda: names)
    found = neighbors({"MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4"})
    assert local_device("cupy", found) == "cupy:2"
