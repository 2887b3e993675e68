"""PyTorch: resident tensors, batches by index_select, fused optimizer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.adapters import AfterEpoch, checked
from benchmarks.adapters.with_gemm import Call, NumpyProducts
from benchmarks.work import Task, initial_weights

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class Eager:
    """One operation after another."""

    def prepared(self, loss_of: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that gives a batch's loss, as it is to be called."""
        return loss_of

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None:
        model = network(task, seed)
        # The documented way to the fastest of PyTorch's implementations of an update.
        optimizer = OPTIMIZERS[task.optimizer](
            model.parameters(), lr=task.learning_rate, fused=True
        )
        inputs, labels = torch.from_numpy(X), torch.from_numpy(y)

        def forward(x: Any, t: Any) -> Any:
            return torch.nn.functional.cross_entropy(model(x), t)

        def predict(rows: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(rows)).argmax(1).numpy()

        loss_of = self.prepared(forward)
        generator = np.random.default_rng(seed)
        while True:
            began = time.perf_counter()
            order = torch.from_numpy(generator.permutation(len(X)))
            losses = []
            for rows in order.split(task.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(inputs.index_select(0, rows), labels.index_select(0, rows))
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            checked(torch.stack(losses).mean().item())
            if after_epoch(time.perf_counter() - began, predict):
                return


class Compiled(Eager):
    """Forward and backward pass by torch.compile."""

    def prepared(self, loss_of: Callable[..., Any]) -> Callable[..., Any]:
        torch._dynamo.reset()  # one process meets many networks: none of them is a recompilation
        return torch.compile(loss_of, dynamic=False)


class TorchProducts(NumpyProducts):
    """A step's products by the BLAS that comes with PyTorch."""

    def call(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Call:
        return partial(
            torch.mm, torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out)
        )


def network(task: Task, seed: int) -> torch.nn.Sequential:
    """Return the network with its initial weights."""
    layers: list[torch.nn.Module] = []
    for weights in initial_weights(task.sizes, seed):
        dense = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weights.T))
            dense.bias.zero_()
        layers += [dense, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])
