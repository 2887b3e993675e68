"""Trainings by several ranks with an emulated CUDA device each: SCENARIOS and FOLDER are arguments.

It is a program for mpiexec, which `test_nccl.py` starts once the devices are there. Each scenario
leaves files for each rank.
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import cupy
import cupy.cuda.nccl
import emulated_cuda
import numpy as np
import pytest
from gpu.launches import unhurried
from worlds import CASES, ESSENTIAL, decaying, deep, history, on_devices, trained, values

from gpunn.backends import get_backend
from gpunn.backends.cupy import branches, capture
from gpunn.backends.cupy.nccl import Calls, stream_now
from gpunn.distributed import communicator
from gpunn.errors import DistributedError, MissingPackageError
from gpunn.layers import Dense
from gpunn.layers.base import Layer
from gpunn.training.step import gradient_overlap

SCENARIOS, FOLDER = sys.argv[1:]
TIMEOUT = float(os.environ.get("TIMEOUT", "100"))
WORLD = communicator("nccl", timeout=TIMEOUT)
BACKEND = f"cupy:{WORLD.rank}"
PLANTED = WORLD.rank == 1
"""Whether this is the rank that a bug is planted in."""


def save(name, this, counts=None):
    told = {
        "history": history(this),
        "name": this.ranks.communicator.name,
        "graph_launches": counts.graph_launches if counts else 0,
        "eager": dict(counts.collectives) if counts else {},
        "captured": dict(counts.captured_collectives) if counts else {},
        "replayed": dict(counts.replayed_collectives) if counts else {},
        "copies": dict(counts.copies) if counts else {},
    }
    place = Path(FOLDER, f"{name}.{WORLD.rank}")
    place.with_suffix(f".{WORLD.rank}.json").write_text(json.dumps(told))
    np.save(f"{place}.npy", values(this))


def train(name, **options):
    with emulated_cuda.counters() as counts:
        this = trained(WORLD, **{"backend": BACKEND, **options})
    save(name, this, counts)
    return this


def parity():
    """Train several cases, one after the other, with one communicator."""
    for case in ESSENTIAL:
        train(case, **on_devices(case))


def other_cases():
    for case in [each for each in CASES if each not in ESSENTIAL]:
        train(case, **on_devices(case))


def unrolled():
    with unhurried(2):
        train("unrolled", batch_size=8, **CASES["batch norm"])


def overlapped():
    """Exchange gradients while others are computed, and immediately, with and without a graph."""
    given = {"layers": deep, "optimizer": decaying}
    train("at_once", **given)
    gradient_overlap.MIN_BYTES = 1024
    train("in_parts", **given)
    train("without_rows", **given, batch_size=2, epochs=1)
    asked, exchange = [], Calls.exchange

    def noted(self, sends, receives):
        asked.append((counts.launches, stream_now() == cupy.cuda.Stream.null.ptr))
        exchange(self, sends, receives)

    Calls.exchange = noted
    with emulated_cuda.counters() as counts:
        one_by_one = get_backend(BACKEND, graph=False)
        this = trained(WORLD, backend=one_by_one, **given, epochs=1)
    save("one_by_one", this, counts)
    Path(FOLDER, f"asked.{WORLD.rank}.json").write_text(json.dumps(asked))


def unordered(name):
    """Leave out one of the waits of a second stream, without a graph."""
    gradient_overlap.MIN_BYTES = 1024
    if PLANTED:
        wait = "let_current_wait" if name == "join" else "wait_for_current"
        assert hasattr(branches, wait)
        setattr(branches, wait, lambda *_: None)
    train("unordered", layers=deep, backend=get_backend(BACKEND, graph=False))


def unordered_join():
    """Read sums before NCCL has computed them."""
    unordered("join")


def unordered_branch():
    """Sum gradients before they are computed."""
    unordered("branch")


def sharded():
    train("sharded", shards=2, dtype="float32", layers=deep)
    blocks = cupy.arange(3.0 * WORLD.size).reshape(-1, 3) + 100 * WORLD.rank
    out = cupy.empty_like(blocks)
    WORLD.all_to_all(blocks, out)
    expected = [[100 * rank + 3 * WORLD.rank + i for i in range(3)] for rank in range(WORLD.size)]
    assert out.tolist() == expected


@dataclass(eq=False)
class Uncapturable(Layer):
    """Waits for the device within a step, on some ranks."""

    name = "uncapturable"
    ranks: tuple = ()
    wrong: bool = False

    def forward(self, x, workspace):
        def look():
            if WORLD.rank in self.ranks:
                if self.wrong and self.look_again():
                    raise ValueError("there is trouble")
                float(x.sum())

        workspace.backend.call(look)
        return x

    looks = 0

    def look_again(self):
        type(self).looks += 1
        return self.looks == 3

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient


def with_layer(**settings):
    return lambda: [Dense(16, activation="relu"), Uncapturable(**settings), Dense(3)]


def uncapturable():
    train("uncapturable", layers=with_layer(ranks=(1,)))


def error():
    train("error", layers=with_layer(ranks=(1,), wrong=True))


def stopped():
    """Stop one rank in the middle of a step."""

    def stop(self, given, out, call=Calls.all_gather):
        os.kill(os.getpid(), signal.SIGSTOP)
        call(self, given, out)

    if PLANTED:
        Calls.all_gather = stop
    train("stopped")


def lost():
    """Stop one rank in the middle of a step; the other notices by an error of NCCL."""

    def lose(self, given, out, call=Calls.all_gather):
        library = ctypes.CDLL("libnccl.so.2")
        library.emulated_nccl_lose(ctypes.c_void_p(self.communicator.comm))
        call(self, given, out)

    if PLANTED:
        stopped()
    Calls.all_gather = lose
    train("lost")


def refused(name, backend):
    """Leave the error with which all ranks refuse to train."""
    with pytest.raises((DistributedError, MissingPackageError)) as found:
        trained(WORLD, backend=backend)
    elsewhere = getattr(found.value, "elsewhere", None)
    Path(FOLDER, f"{name}.{WORLD.rank}.txt").write_text(f"{found.value} elsewhere: {elsewhere}")


def one_device():
    refused("one_device", "cupy:0")


def one_device_by_auto():
    with emulated_cuda.counters() as counts:
        this = trained(communicator("auto", timeout=TIMEOUT), backend="cupy:0")
    save("by_auto", this, counts)


def no_library():
    with pytest.MonkeyPatch.context() as patch:
        if PLANTED:
            patch.setattr(cupy.cuda.nccl, "available", False)
        refused("no_library", BACKEND)


def clock():
    """Let a rank reach a graph of several updates before the others."""
    capture.UNROLLED, capture.UNROLL_AFTER = 2, (4 if PLANTED else 1000)
    train("clock", epochs=4, log_every=4, batch_size=8)


def kept_graph():
    """Keep graphs after the communicator has ended."""
    kept = []

    def begin(self, graph):
        self._graph = graph
        kept.append(self)

    capture.Graph.__init__ = begin
    if PLANTED:
        capture.Graph.destroy = lambda self: None
    train("kept")


for each in SCENARIOS.split(","):
    globals()[each]()
