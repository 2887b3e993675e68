"""`NeuralNetwork`: the network that docs/start/tutorial.md builds from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gpunn.backends import Backend
from gpunn.configurable import check_flag, check_integer
from gpunn.errors import ArgumentError
from gpunn.initializers import Normal
from gpunn.layers import Dense
from gpunn.losses import MeanSquaredError
from gpunn.network import Sequential
from gpunn.optimizers import SGD
from gpunn.training.callbacks import Callback
from gpunn.training.trainer import Trainer
from gpunn.typing import HostArray


class NeuralNetwork(Sequential):
    """Layers of ReLU neurons, trained by mini-batch gradient descent on the squared error.

    Weights start as N(0, 0.01^2) and biases as 0. Every layer applies ReLU, including the last
    layer.

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, then the number of neurons of each layer, such as [784, 128, 10].
    backend : str, Backend or None
        The backend that computes; see `gpunn.get_backend`.
    seed : int
        Seed of the initial weights.
    dtype : {"float32", "float64"}
        Dtype of parameters and activations.

    Raises
    ------
    ArgumentError
        If there are fewer than two sizes, or if a size is not a positive integer.

    Examples
    --------
    >>> net = gpunn.NeuralNetwork([3, 4, 2], backend="numpy")
    >>> net.layers[0].neurons[3].weights.shape, net.layers[0].neurons[3].bias.shape
    ((3, 1), (1, 1))
    """

    file_kind = "neural_network"

    def __init__(
        self,
        sizes: Sequence[int],
        backend: str | Backend | None = None,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        listed = isinstance(sizes, (Sequence, np.ndarray)) and not isinstance(sizes, str)
        if not listed or len(sizes) < 2:
            raise ArgumentError(
                "sizes: expected the number of inputs and at least one layer, such as "
                f"[784, 128, 10]; got {list(sizes) if listed else sizes!r}"
            )
        checked = [check_integer("sizes", size) for size in sizes]
        layers = [
            Dense(units, "relu", initializer=Normal(0.01), bias_initializer="zeros")
            for units in checked[1:]
        ]
        super().__init__(layers, (checked[0],), backend, seed, dtype)

    def train(
        self,
        X: HostArray,
        y: HostArray,
        *,
        epochs: int,
        learning_rate: float,
        batch_size: int,
        verbose: bool = True,
    ) -> list[float]:
        """Train by mini-batch gradient descent, without shuffling the rows.

        Each batch of m rows updates the parameters by the gradient of the tutorial's cost::

            C = 1/m sum_i sum_j (prediction_ij - y_ij)^2

        The gradient with respect to the outputs is 2 (prediction - y) / m. After each epoch,
        `train` prints a line such as "Epoch 1/5, Loss: 0.123456". The printed loss is C / k, the
        mean over all rows and the k outputs.

        Parameters
        ----------
        X : array, shape (rows, inputs)
            Finite real numbers.
        y : array, shape (rows, outputs)
            The targets.
        epochs : int
            Passes over the rows.
        learning_rate : float
            The learning rate, at least 0.
        batch_size : int
            Rows per batch; the last batch of an epoch may be smaller.
        verbose : bool
            Whether to print the loss after each epoch.

        Returns
        -------
        list of float
            The printed losses.

        Raises
        ------
        DataError
            If X or y does not fit the network.
        DivergenceError
            If the loss becomes infinite or NaN; a smaller learning rate usually helps.

        Notes
        -----
        Ctrl-C ends training after the current update, prints a line, and returns the losses of the
        completed epochs.
        """
        verbose = check_flag("verbose", verbose)
        report = PrintedLoss(check_integer("epochs", epochs), self.output_shape[0], verbose)
        trainer = Trainer(self, MeanSquaredError(over_outputs="sum"), SGD(learning_rate))
        history = trainer.fit(
            X,
            y,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=False,
            callbacks=[report],
            progress=False,
        )
        if report.verbose and history.stopped:
            print(f"Stopped: {history.stopped}")
        return report.losses


class PrintedLoss(Callback):
    def __init__(self, epochs: int, outputs: int, verbose: bool) -> None:
        self.epochs, self.outputs, self.verbose = epochs, outputs, verbose
        self.losses: list[float] = []

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        self.losses.append(logs["loss"] / self.outputs)
        if self.verbose:
            print(f"Epoch {trainer.epoch}/{self.epochs}, Loss: {self.losses[-1]:.6f}")
