"""A training by several ranks, one of which gets into trouble: RANK, WHAT and WHEN are arguments.

It is a separate program for mpiexec. A layer of the network makes the trouble in the
middle of a step, or a callback does so between steps.
"""

import os
import signal
import sys
from dataclasses import dataclass

import numpy as np

import gpunn
from gpunn.callbacks import Callback, ModelCheckpoint
from gpunn.layers import Dense
from gpunn.layers.base import Layer

TROUBLED, WHAT, WHERE, TIMEOUT, FOLDER = sys.argv[1:6]
COMMUNICATOR = gpunn.distributed.communicator(timeout=float(TIMEOUT))


def trouble():
    if WHAT == "raise":
        raise ValueError("there is trouble")
    if WHAT == "exit":
        sys.exit(3)
    if WHAT in ("SIGKILL", "SIGSTOP", "SIGTERM", "SIGINT"):
        os.kill(os.getpid(), getattr(signal, WHAT))


@dataclass(eq=False)
class Trouble(Layer):
    name = "trouble"
    passes = 0

    def forward(self, x, workspace):
        if WHERE == "step" and COMMUNICATOR.rank == int(TROUBLED) and workspace.training:
            type(self).passes += 1
            if self.passes == 50:
                trouble()
        return x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient


class TroubleBetween(Callback):
    name = "trouble_between"
    every_updates = 1

    def on_updates_end(self, trainer):
        if WHERE == "callback" and trainer.updates == 50:
            trouble()


if WHERE == "start" and COMMUNICATOR.rank == int(TROUBLED):
    trouble()

random = np.random.default_rng(0)
X, y = random.normal(size=(640, 5)), random.integers(0, 2, 640)
if WHAT == "data" and COMMUNICATOR.rank == int(TROUBLED):
    X[0, 0] += 1
MODEL = gpunn.Sequential(
    [Dense(4, activation="relu"), Trouble(), Dense(2)],
    (5,),
    "numpy",
    seed=int(WHAT == "seed" and COMMUNICATOR.rank == int(TROUBLED)),
    dtype="float32",
)
trainer = gpunn.Trainer(MODEL, "softmax_cross_entropy", "adam", communicator=COMMUNICATOR)
trainer.log_every = 20
trainer.fit(
    X,
    y,
    epochs=100_000,
    batch_size=16,
    callbacks=[
        TroubleBetween(),
        ModelCheckpoint(f"{FOLDER}/{{updates}}.gpunn", resumable=True, keep=2),
    ],
    progress=False,
)
print(f"rank {COMMUNICATOR.rank}: {trainer.history.stopped}")
