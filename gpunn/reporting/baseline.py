"""What a network without inputs would achieve: the least that a trained one has to beat."""

from __future__ import annotations

import numpy as np

from gpunn.experiment.objects import Objects
from gpunn.experiment.parts import Part
from gpunn.layers import Dense
from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.training.trainer import Trainer

__all__ = ["baseline"]

TINY = 1e-6
"""The least probability, so that the loss of a class that no training row has is finite."""


def baseline(
    model: Sequential, objects: Objects, training: Part, part: Part
) -> tuple[str, dict[str, float]]:
    """Return what is always predicted, and its loss and metrics over a part of the data.

    It is the mean of the training targets; of classes and labels, their shares, by which the most
    frequent one is predicted. A network of one layer predicts that, without weights, so that the
    figures are taken as those of trained networks.
    """
    outputs = model.output_shape[0]
    what, constant = prediction(objects.loss, training.targets(), outputs)
    network = Sequential([Dense(outputs)], 1, model.backend, dtype=model.dtype)
    network.parameters["dense_1.weights"] = np.zeros((1, outputs))
    network.parameters["dense_1.biases"] = constant
    metrics = {each.name: each for each in (*objects.validation_metrics, *objects.metrics)}
    trainer = Trainer(network, objects.loss, metrics=list(metrics.values()))
    found = trainer.evaluate(np.zeros((part.rows, 1), model.dtype), part.targets())
    if model.trained_layers < len(model.layers):
        del found["loss"]  # the network's own is taken before its last layers, in another unit
    return what, found


def prediction(loss: Loss, targets: np.ndarray, outputs: int) -> tuple[str, np.ndarray]:
    """Return what is always predicted, in words, and the outputs that mean that."""
    checked = loss.check_targets(targets, outputs)
    classes = loss.class_indices(checked)
    if loss.output_activation == "softmax" and classes is not None:
        shares = np.bincount(classes.reshape(-1), minlength=outputs) / classes.size
        return "most frequent class", np.log(np.maximum(shares, TINY))
    mean = np.asarray(np.mean(checked.reshape(-1, outputs), axis=0, dtype=np.float64))
    if loss.output_activation == "sigmoid":
        shares = np.clip(mean, TINY, 1 - TINY)
        answer = "class" if classes is not None else "answer"
        return f"most frequent {answer}", np.log(shares / (1 - shares))
    if loss.output_activation == "exponential":
        mean = np.asarray(np.log(np.maximum(mean, TINY)))
    return "mean", mean
