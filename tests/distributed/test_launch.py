"""Variables of launchers, and errors if processes don't find each other."""

import importlib.util
import sys
import types

import pytest

import gpunn
from gpunn.distributed import Communicator, launch
from gpunn.errors import ArgumentError, DistributedError, MissingPackageError


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*launch.LAUNCHERS, launch.VARIABLE, launch.OPENMP):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", launch.LAUNCHERS)
def test_launchers_are_recognised(variable):
    size, launcher = launch.launched({variable: "4"})
    assert size == 4
    assert variable in launcher
    assert launch.launched({variable: "1"}) == (1, "")
    assert launch.launched({variable: "many"}) == (1, "")


def test_without_a_launcher_there_is_one_process():
    found = gpunn.distributed.communicator()
    assert (found.rank, found.size, found.name) == (0, 1, "none")


def test_without_mpi4py_several_processes_are_an_error(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackageError,
        match=r"\(PMI_SIZE\) has started 4 processes, and mpi4py .* '\.\[mpi\]'",
    ):
        gpunn.distributed.communicator()
    assert gpunn.distributed.communicator("none").size == 1


def test_an_mpi_that_is_not_the_launchers_is_an_error(monkeypatch):
    world = types.SimpleNamespace(Get_size=lambda: 1)
    mpi = types.SimpleNamespace(
        COMM_WORLD=world,
        Get_library_version=lambda: "Some MPI 1.0\n",
        Is_initialized=lambda: True,
    )
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setitem(
        sys.modules, "mpi4py", types.SimpleNamespace(MPI=mpi, rc=types.SimpleNamespace())
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(
        DistributedError, match=r"started 4 processes, but mpi4py's MPI has 1.*'Some MPI 1.0'"
    ):
        gpunn.distributed.communicator()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "mpl"}, "communicator: there is no communicator 'mpl'"),
        ({"timeout": 0}, "timeout: expected a number > 0; got 0"),
    ],
)
def test_impossible_arguments_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        gpunn.distributed.communicator(**given)


def test_the_rank_that_has_failed_says_so_before_another_one_ends_it(monkeypatch):
    done = []

    class World(Communicator):
        def abort(self):
            done.append("end")

    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: done.append("say"))
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: done.append("wait"))
    launch.end_together(World(1, 2))
    for error in (ValueError("here"), DistributedError("rank 0 has failed: ValueError: there", 0)):
        sys.excepthook(type(error), error, None)
    assert done == ["say", "end", "wait", "end"]


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(launch, "usable_cores", lambda: 8)
    monkeypatch.setattr(launch.os, "cpu_count", lambda: 8)
    monkeypatch.setenv(launch.VARIABLE, "")
    launch.limit_to_share_of_cores(3)
    assert launch.os.environ[launch.VARIABLE] == "2"
    monkeypatch.setenv(launch.VARIABLE, "5")
    launch.limit_to_share_of_cores(3)
    assert launch.os.environ[launch.VARIABLE] == "5"
    # Cores that the launcher has given to this process are all its own.
    monkeypatch.setattr(launch, "usable_cores", lambda: 4)
    monkeypatch.setenv(launch.VARIABLE, "")
    launch.limit_to_share_of_cores(2)
    assert launch.os.environ[launch.VARIABLE] == ""


@pytest.mark.parametrize(
    ("backend", "devices", "expected"),
    [
        *[("numpy", 8, "numpy"), ("cupy:1", 8, "cupy:1"), ("auto", 0, "auto")],
        *[("auto", 8, "cupy:3"), ("cupy", 8, "cupy:3"), ("cupy", 1, "cupy"), ("cupy", 0, "cupy")],
    ],
)
def test_each_process_has_a_device(backend, devices, expected, monkeypatch):
    names = ["numpy", *(f"cupy:{number}" for number in range(devices))]
    monkeypatch.setattr(launch, "available_backends", lambda: names)
    assert launch.local_device(backend, Communicator(3, 4, 3, 4)) == expected
