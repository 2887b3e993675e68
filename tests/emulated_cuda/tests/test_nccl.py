"""NCCL's collective calls between devices; ranks are threads here."""

import threading
from pathlib import Path

import cupy
import emulated_cuda
import pytest
from cupy.cuda import nccl

FLOAT32, FLOAT64 = nccl.NCCL_FLOAT32, nccl.NCCL_FLOAT64


def run(function, devices=(0, 1)):
    """Return the results or errors of `function(rank, communicator, stream)`, by rank."""
    identity, found = nccl.get_unique_id(), [None] * len(devices)

    def work(rank):
        try:
            cupy.cuda.Device(devices[rank]).use()
            communicator = nccl.NcclCommunicator(len(devices), identity, rank)
            stream = cupy.cuda.Stream(non_blocking=True)
            with stream:
                found[rank] = function(rank, communicator, stream)
            communicator.destroy()
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(devices))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def all_gather(communicator, given, out, stream, kind=FLOAT64):
    communicator.allGather(given.data.ptr, out.data.ptr, given.size, kind, stream.ptr)


def all_to_all(communicator, given, out, stream):
    count, offset = given.size // 2, given.nbytes // 2
    nccl.groupStart()
    for peer in range(2):
        here = peer * offset
        communicator.send(given.data.ptr + here, count, FLOAT64, peer, stream.ptr)
        communicator.recv(out.data.ptr + here, count, FLOAT64, peer, stream.ptr)
    nccl.groupEnd()


def captured(stream, call):
    stream.begin_capture()
    call()
    return stream.end_capture()


def data(rank):
    return cupy.arange(4.0) + 10 * rank, cupy.zeros(8)


def test_all_gather():
    def go(rank, communicator, stream):
        given, out = data(rank)
        with emulated_cuda.counters() as counts:
            all_gather(communicator, given, out, stream)
        assert counts.collectives["ncclAllGather"] >= 1
        return out.get().tolist()

    assert run(go) == [[0, 1, 2, 3, 10, 11, 12, 13]] * 2


def test_a_name_that_an_earlier_process_left():
    """Process numbers repeat, and a killed process may have left its shared memory."""
    stem, _, number = bytes(nccl.get_unique_id()).partition(b"\0")[0].decode().rpartition("-")
    left = Path(f"/dev/shm{stem}-{int(number) + 1}")
    left.touch()
    try:
        test_all_gather()
    finally:
        left.unlink()
        Path(f"/dev/shm{stem}-{number}").unlink()


MISMATCHES = {
    "another call": lambda call, rank: call("gather") if rank else call("exchange"),
    "another size": lambda call, rank: call("gather", size=4 - rank),
    "another type": lambda call, rank: call("gather", kind=FLOAT32 if rank else FLOAT64),
    "another order": lambda call, rank: [
        call(what) for what in (("gather", "exchange") if rank else ("exchange", "gather"))
    ],
}


@pytest.mark.parametrize("case", MISMATCHES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_calls_that_do_not_fit_together_are_errors_on_all_ranks(case, in_graph, capfd):
    def go(rank, communicator, stream):
        given, out = cupy.zeros(8), cupy.zeros(16)

        def call(what, size=4, kind=FLOAT64):
            if what == "gather":
                all_gather(communicator, given[:size], out, stream, kind)
            else:
                all_to_all(communicator, given, out, stream)

        if in_graph:
            graph = captured(stream, lambda: MISMATCHES[case](call, rank))
            graph.launch()
        else:
            MISMATCHES[case](call, rank)

    errors = run(go)
    said = capfd.readouterr().err
    for error in errors:
        if in_graph:
            assert isinstance(error, emulated_cuda.CollectiveError)
            said = str(error)
        else:
            assert "INVALID_USAGE" in str(error)
        assert "exchange number 1: rank 0 does" in said


def test_a_graph_on_one_rank_alone_is_an_error(capfd):
    def go(rank, communicator, stream):
        given, out = data(rank)
        if rank:
            captured(stream, lambda: all_gather(communicator, given, out, stream)).launch()
        else:
            all_gather(communicator, given, out, stream)

    first, second = run(go)
    assert isinstance(second, emulated_cuda.CollectiveError)
    assert "INVALID_USAGE" in str(first)
    assert "rank 1 does in a graph with 1 collective call: ncclAllGather" in str(second)


def test_a_rank_that_leaves_without_a_call_is_noticed(capfd):
    def go(rank, communicator, stream):
        if rank == 0:
            all_gather(communicator, *data(rank), stream)

    assert "INVALID_USAGE" in str(run(go)[0])
    assert "rank 0 waits in exchange number 1" in (said := capfd.readouterr().err)
    assert "rank 1 has left after 0" in said


def test_a_rank_that_does_not_come_is_noticed(monkeypatch, capfd):
    monkeypatch.setenv("GPUNN_EMULATED_NCCL_TIMEOUT", "0.05")
    over = threading.Event()

    def go(rank, communicator, stream):
        if rank == 0:
            with pytest.raises(nccl.NcclError, match="INVALID_USAGE"):
                all_gather(communicator, *data(rank), stream)
            over.set()
        assert over.wait(60)

    assert run(go) == [None, None]
    assert "rank 1 has not come after 0" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("given", "was given back"), ("out", "was given back"), ("size", "pass the end of an alloc")],
)
def test_memory_that_can_not_be_used_is_noticed(wrong, said, capfd):
    def go(rank, communicator, stream):
        given, out = data(rank)
        places, size = (given.data.ptr, out.data.ptr), 5 if wrong == "size" else 4
        if wrong == "given":
            del given
        elif wrong == "out":
            del out
        communicator.allGather(*places, size, FLOAT64, stream.ptr)

    for error in run(go):
        assert "UNHANDLED_CUDA_ERROR" in str(error)
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("exchange_first", [False, True])
@pytest.mark.parametrize("part", ["the same", "another"])
def test_streams_that_share_an_array_have_to_wait(exchange_first, waits, part, capfd):
    def go(rank, communicator, stream):
        given, out = cupy.zeros(8), cupy.zeros(8)
        stream.synchronize()
        other = cupy.cuda.Stream(non_blocking=True)

        def exchange():
            with stream:
                all_gather(communicator, given[:4], out, stream)

        def compute():
            with other:
                given[(slice(0, 4) if part == "the same" else slice(4, 8))] += 1

        if exchange_first:
            exchange()
            if waits:
                other.wait_event(stream.record())
            compute()
        else:
            compute()
            if waits:
                stream.wait_event(other.record())
            exchange()
        stream.synchronize()
        other.synchronize()

    found = run(go)
    if waits or (exchange_first and part == "another"):
        assert found == [None, None]
    elif exchange_first:
        assert all(isinstance(error, emulated_cuda.RaceError) for error in found)
    else:  # also where it is another part: what kernels use is known of whole arrays alone
        assert all("UNHANDLED_CUDA_ERROR" in str(error) for error in found)
        assert "may use the same memory" in capfd.readouterr().err


def test_an_abort_waits_for_graphs_whose_launch_is_an_error():
    def go(rank, communicator, stream):
        given, out = data(rank)
        graph = captured(stream, lambda: all_gather(communicator, given, out, stream))
        aborting = threading.Thread(target=communicator.abort, daemon=True)
        aborting.start()
        aborting.join(0.1)
        waits = aborting.is_alive()
        with pytest.raises(emulated_cuda.CollectiveError, match="destroyed or aborted before"):
            graph.launch()
        del graph
        aborting.join(60)
        return waits, aborting.is_alive()

    assert run(go) == [(True, False)] * 2


def test_abort_ends_a_call_that_waits(capfd):
    ready, over = threading.Event(), threading.Event()

    def go(rank, communicator, stream):
        if rank == 1:
            assert over.wait(60)
            return
        arrays = data(rank)
        other = threading.Timer(0, lambda: (ready.wait(60), communicator.abort()))
        other.start()
        ready.set()
        with pytest.raises(nccl.NcclError):
            all_gather(communicator, *arrays, stream)
        other.join()
        over.set()

    assert run(go) == [None, None]


def test_two_ranks_on_one_device_are_refused(capfd):
    for error in run(lambda *_: None, devices=(1, 1)):
        assert "INVALID_USAGE" in str(error)
    assert "Duplicate GPU detected: ranks 0 and 1 on device 1" in capfd.readouterr().err
