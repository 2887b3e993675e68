"""Scratch memory that grows while a graph exists, which keeps its recorded addresses."""

import cupy
import numpy as np
from calls import Calls
from equality import assert_same_bits

import gpunn
from gpunn.backends.collective import Lane
from gpunn.backends.cupy.scratch import Scratch
from gpunn.layers import Dense
from gpunn.metrics import F1

ROWS, FEATURES, CLASSES = 64, 6, 3
LABELS = np.arange(ROWS) % CLASSES
INPUTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("f4")


def evaluate_in_large_batches(trainer, logs):
    """Use more scratch memory than a step: F1 stores an index of each row of a batch."""
    trainer.evaluate(INPUTS, LABELS, batch_size=ROWS)


def trained(graph):
    backend = gpunn.get_backend("cupy", graph=graph)
    model = gpunn.Sequential([Dense(8, "relu"), Dense(CLASSES)], FEATURES, backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", [F1("macro")])
    options = {"epochs": 4, "batch_size": 8, "progress": False}
    callbacks = [Calls(on_epoch_end=evaluate_in_large_batches)]
    history = trainer.fit(INPUTS, LABELS, callbacks=callbacks, **options)
    return model.parameters.to_host() | {"loss": np.array(history["loss"])}


def test_a_graph_keeps_its_scratch_memory_when_others_need_more():
    assert_same_bits(trained(True), trained(False))


def test_a_lane_has_its_own_memory_which_is_never_given_back_while_it_is_used():
    scratch, lane, stream = Scratch(), Lane(), cupy.cuda.Stream(non_blocking=True)
    other = scratch("partials", 1000, "float32")
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        stream.wait_event(cupy.cuda.get_current_stream().record())
        with scratch.of_lane(lane), stream:
            first = scratch("partials", 1000, "float32")
            first.fill(1)
            address = first.data.ptr
            del first
            larger = scratch("partials", 2000, "float32")
        taken = cupy.zeros(1000, "float32")  # by another stream, which waits for nothing
        assert taken.data.ptr == address
        stream.synchronize()
    assert not taken.get().any()
    assert len({other.data.ptr, address, larger.data.ptr}) == 3
    assert scratch("partials", 1000, "float32") is other
    assert not scratch.tickets(5).get().any()
