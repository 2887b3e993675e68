"""Scratch memory that grows while a graph is alive, which keeps the addresses it recorded."""

import numpy as np

import gpunn
from gpunn.layers import Dense
from gpunn.training.callbacks import Callback

ROWS, FEATURES, CLASSES = 64, 6, 3
LABELS = np.arange(ROWS) % CLASSES
INPUTS = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype("f4")


class EvaluateInLargeBatches(Callback):
    """Needs more scratch memory than a step, between two epochs of replayed steps."""

    def on_epoch_end(self, trainer, logs):
        trainer.evaluate(INPUTS, LABELS, batch_size=ROWS)


def trained(graph):
    backend = gpunn.get_backend("cupy", graph=graph)
    model = gpunn.Sequential([Dense(8, "relu"), Dense(CLASSES)], FEATURES, backend, seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", ["accuracy"])
    history = trainer.fit(
        INPUTS,
        LABELS,
        epochs=4,
        batch_size=8,
        callbacks=[EvaluateInLargeBatches()],
        progress=False,
    )
    return model.parameters.to_host(), history["loss"]


def test_a_graph_keeps_its_scratch_memory_when_others_need_more():
    (replayed, graph_losses), (plain, losses) = trained(True), trained(False)
    assert list(graph_losses) == list(losses)
    for name, value in plain.items():
        np.testing.assert_array_equal(replayed[name], value)
