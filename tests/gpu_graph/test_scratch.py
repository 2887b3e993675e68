"""Scratch memory that grows while a graph exists, which keeps its recorded addresses."""

import numpy as np
from calls import Calls
from equality import assert_same_bits

import gpunn
from gpunn.layers import Dense

ROWS, FEATURES, CLASSES = 64, 6, 3
LABELS = np.arange(ROWS) % CLASSES
INPUTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("f4")


def evaluate_in_large_batches(trainer, logs):
    """Use more scratch memory than a step, between two epochs of replayed steps."""
    trainer.evaluate(INPUTS, LABELS, batch_size=ROWS)


def trained(graph):
    backend = gpunn.get_backend("cupy", graph=graph)
    model = gpunn.Sequential([Dense(8, "relu"), Dense(CLASSES)], FEATURES, backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", ["accuracy"])
    options = {"epochs": 4, "batch_size": 8, "progress": False}
    callbacks = [Calls(on_epoch_end=evaluate_in_large_batches)]
    history = trainer.fit(INPUTS, LABELS, callbacks=callbacks, **options)
    return model.parameters.to_host() | {"loss": np.array(history["loss"])}


def test_a_graph_keeps_its_scratch_memory_when_others_need_more():
    assert_same_bits(trained(True), trained(False))
