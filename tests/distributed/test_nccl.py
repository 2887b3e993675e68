"""Ranks with an emulated CUDA device each exchange gradients with an emulated NCCL."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mpi import needs_mpi, run
from worlds import (
    CASES,
    ESSENTIAL,
    decaying,
    deep,
    difference,
    history,
    on_devices,
    trained,
    values,
)

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.nccl import NCCLCommunicator

PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import emulated_cuda
emulated_cuda.install(devices=3)  # before anything imports CuPy
import runpy
runpy.run_path({str(Path(__file__).with_name("nccl_training.py"))!r}, run_name="__main__")
"""

PARTS = 4
"""The parts in which gradients of `worlds.deep` are exchanged."""

pytestmark = [
    pytest.mark.tier(5),
    pytest.mark.emulated,
    needs_mpi,
    pytest.mark.skipif(
        importlib.util.find_spec("cupy") is None or shutil.which("g++") is None,
        reason="CuPy and g++ are needed: pip install '.[emulated]'",
    ),
]


def result(folder, name, rank):
    told = json.loads((folder / f"{name}.{rank}.json").read_text())
    return told, np.load(folder / f"{name}.{rank}.npy")


def trained_in(folder, ranks, scenarios):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NCCL_DEBUG", "INFO")
        status, output = run(ranks, "-c", PROGRAM, scenarios, folder)
    assert status == 0, output
    return output


GOES_WELL = "parity,uncapturable,overlapped,unrolled"
OF_TWO = f"one_device,no_library,one_device_by_auto,sharded,{GOES_WELL},kept_graph"


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """The folder of two ranks and what NCCL and they said; one keeps a graph in the end."""
    folder = tmp_path_factory.mktemp("of_two")
    return folder, trained_in(folder, 2, OF_TWO)


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.full)])
def together(request, of_two, tmp_path_factory):
    """How many ranks trained what goes well, their folder, and what was said meanwhile."""
    if request.param == 2:
        return 2, *of_two
    folder = tmp_path_factory.mktemp("together")
    return request.param, folder, trained_in(folder, request.param, GOES_WELL)


def agrees_with_one_process(case, ranks, folder):
    one = trained(**on_devices(case))
    first, parameters = result(folder, case, 0)
    assert first["name"] == "nccl"
    assert difference(parameters, values(one)) <= 1e-13
    for ours, theirs in zip(first["history"], history(one), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-12)
    for rank in range(1, ranks):
        told, others = result(folder, case, rank)
        assert np.array_equal(others, parameters)
        assert told["history"] == first["history"]


@pytest.mark.parametrize("case", ESSENTIAL)
def test_ranks_train_what_one_process_trains(case, together):
    ranks, folder, _ = together
    agrees_with_one_process(case, ranks, folder)


@pytest.mark.full
def test_ranks_train_what_one_process_trains_in_the_other_cases(tmp_path):
    trained_in(tmp_path, 3, "other_cases")
    for case in [each for each in CASES if each not in ESSENTIAL]:
        agrees_with_one_process(case, 3, tmp_path)


def test_the_exchange_is_part_of_the_graph(together):
    ranks, folder, _ = together
    for rank in range(ranks):
        told, _ = result(folder, "plain", rank)
        # Of 18 updates, 3 of which have fewer rows, the first of each kind is done without a graph.
        assert told["eager"] == {"ncclGroup": 2, "ncclAllGather": 2}
        assert told["captured"] == told["eager"]
        assert told["replayed"] == {"ncclGroup": 16, "ncclAllGather": 16}


def test_graphs_of_several_updates_are_captured_by_all(together):
    ranks, folder, _ = together
    one = trained(batch_size=8, **CASES["batch norm"])
    for rank in range(ranks):
        told, parameters = result(folder, "unrolled", rank)
        assert told["captured"]["ncclGroup"] > 3  # graphs of one, and of two
        assert told["graph_launches"] < told["replayed"]["ncclGroup"]  # one for each update
        assert difference(parameters, values(one)) <= 1e-13


def test_no_rank_has_a_graph_where_the_capture_fails_on_one(together):
    ranks, folder, output = together
    assert "rank 1: RuntimeError: the current stream is capturing" in output
    one = trained()
    for rank in range(ranks):
        told, parameters = result(folder, "uncapturable", rank)
        assert not told["replayed"]
        assert told["graph_launches"]  # of the stretches between
        assert difference(parameters, values(one)) <= 1e-13


def test_graphs_are_destroyed_before_the_communicator(together):
    ranks, _, output = together
    assert ("ncclCommDestroy would wait forever" in output) == (ranks == 2)
    for rank in range(ranks):
        complete = f"comm rank {rank} nranks {ranks} - Destroy COMPLETE" in output
        assert complete == ((ranks, rank) != (2, 1)), "on rank 1 of 2, graphs are kept"


def test_gradients_are_exchanged_while_others_are_computed(together):
    ranks, folder, _ = together
    for rank in range(ranks):
        told, parameters = result(folder, "in_parts", rank)
        at_once, others = result(folder, "at_once", rank)
        assert np.array_equal(parameters, others)
        assert told["history"] == at_once["history"]
        # Each part is exchanged twice: numbers, and then sums.
        assert at_once["replayed"]["ncclGroup"] == 16
        assert told["replayed"]["ncclGroup"] == 16 * 2 * PARTS
        assert told["eager"]["ncclGroup"] == 2 * 2 * PARTS
        asked = json.loads((folder / f"asked.{rank}.json").read_text())
        launches = [number for number, _ in asked[: 2 * PARTS]]
        assert launches == sorted(set(launches))  # each after more kernels of the pass
        assert not any(on_the_first_stream for _, on_the_first_stream in asked)
        one_by_one, _ = result(folder, "one_by_one", rank)
        assert one_by_one["eager"]["ncclGroup"] == 6 * 2 * PARTS  # updates of one epoch
        assert not one_by_one["captured"]
        assert one_by_one["history"] == told["history"][:1]
    one = trained(layers=deep, optimizer=decaying, batch_size=2, epochs=1)
    _, parameters = result(folder, "without_rows", 0)
    assert difference(parameters, values(one)) <= 1e-12


def test_the_number_of_ranks_changes_no_bit(of_two):
    folder, _ = of_two
    one = trained(backend="cupy", shards=2, dtype="float32", layers=deep)
    told, others = result(folder, "sharded", 1)
    assert told["replayed"]["ncclGroup"]
    assert np.array_equal(values(one), others)
    assert history(one) == told["history"]


FAILURES = {
    "unordered_join": "RaceError: gpunn_adam",
    "unordered_branch": "RaceError: ncclGroup, ncclSend, source",
    "error": "ValueError: there is trouble",
}
"""Bugs planted in rank 1 (see the program), and their messages."""


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, marks=[] if each == "error" else [pytest.mark.full]) for each in FAILURES],
)
def test_planted_bugs_end_all_ranks(scenario, tmp_path, monkeypatch):
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    status, output = run(2, "-c", PROGRAM, scenario, tmp_path)
    assert status != 0
    assert FAILURES[scenario] in output, output
    assert "nranks 2 - Abort COMPLETE" in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("scenario", "waits"),
    [
        ("stopped", "rank 0 has waited 2 s"),
        pytest.param("clock", "has waited 2 s for the other ranks", marks=pytest.mark.full),
    ],
)
def test_a_rank_that_waits_for_too_long_ends_all(scenario, waits, tmp_path, monkeypatch):
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    monkeypatch.setenv("TIMEOUT", "2")
    status, output = run(2, "-c", PROGRAM, scenario, tmp_path)
    assert status != 0
    assert waits in output, output
    assert "nranks 2 - Abort COMPLETE" in output  # of the rank that ends all


def test_an_asynchronous_error_ends_all_before_the_timeout(tmp_path):
    status, output = run(2, "-c", PROGRAM, "lost", tmp_path)  # with a timeout of 100 s
    assert status != 0
    assert "rank 0 waits for the other ranks (an update), but NCCL has failed" in output, output


def refusals(folder, name):
    """Return the message of rank 0; rank 1 fails because of it."""
    first, second = ((folder / f"{name}.{rank}.txt").read_text() for rank in range(2))
    assert second.endswith(" elsewhere: True")  # so that only rank 0 prints its message
    return first


def test_devices_of_one_machine_are_told_apart(of_two):
    folder, _ = of_two
    error = refusals(folder, "one_device")
    assert error.startswith("communicator: ranks 0 and 1 compute on the same CUDA device")
    assert 'with the backend "cupy", or "cupy:N", where N is the local number' in error


def test_auto_goes_by_way_of_the_host_where_nccl_can_not_be_had(of_two):
    folder, output = of_two
    assert "gradients are exchanged through the host. communicator: ranks 0 and 1" in output
    told, parameters = result(folder, "by_auto", 1)
    assert told["name"] == "mpi"
    assert not told["eager"]
    assert difference(parameters, values(trained())) <= 1e-13


def test_a_missing_library_is_named(of_two):
    folder, _ = of_two
    error = refusals(folder, "no_library")
    assert error.startswith("rank 1: communicator: NCCL's library libnccl.so.2")
    assert "pip install nvidia-nccl-cu" in error


def test_host_arrays_take_the_way_of_the_host():
    world = NCCLCommunicator(Communicator())
    out = np.zeros((1, 3))
    world.all_gather(np.arange(3.0), out)
    assert out.tolist() == [[0, 1, 2]]
    world.all_to_all(np.ones((1, 3)), out)
    assert out.tolist() == [[1, 1, 1]]
    assert world.name == "none"
    assert world.gather("message") == ["message"]
