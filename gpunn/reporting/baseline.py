"""The baseline: loss and metrics of a constant prediction; a trained network should beat it."""

from __future__ import annotations

import numpy as np

from gpunn.experiment.objects import Objects
from gpunn.experiment.parts import Part
from gpunn.layers import Dense
from gpunn.losses import GaussianNLL, Loss
from gpunn.network import Sequential
from gpunn.training.trainer import Trainer

TINY = 1e-6
"""Minimum probability, so that the loss is finite for a class without training rows."""


def baseline(
    model: Sequential, objects: Objects, training: Part, part: Part
) -> tuple[str, dict[str, float]]:
    """Return the name of a constant prediction, and its loss and metrics on a split of the data.

    The prediction is the mean of the training targets. For classes and labels, the prediction
    consists of their frequencies, so the most frequent class is predicted. A network with one layer
    and zero weights predicts the constant, and its metrics are computed like the metrics of trained
    networks.
    """
    outputs = model.output_shape[0]
    name, constant = prediction(objects.loss, training.targets(), outputs)
    network = Sequential([Dense(outputs)], 1, model.backend, dtype=model.dtype)
    network.parameters["dense_1.weights"] = np.zeros((1, outputs))
    network.parameters["dense_1.biases"] = constant
    metrics = {each.name: each for each in (*objects.validation_metrics, *objects.metrics)}
    trainer = Trainer(network, objects.loss, metrics=list(metrics.values()))
    logs = trainer.evaluate(np.zeros((part.rows, 1), model.dtype), part.targets())
    if model.trained_layers < len(model.layers):
        del logs["loss"]  # the network's loss comes before its last layers, in another unit
    return name, logs


def prediction(loss: Loss, targets: np.ndarray, outputs: int) -> tuple[str, np.ndarray]:
    """Return the name of the constant prediction, and the network outputs that give it."""
    checked = loss.check_targets(targets, outputs)
    classes = loss.class_indices(checked)
    if loss.output_activation == "softmax" and classes is not None:
        shares = np.bincount(classes.reshape(-1), minlength=outputs) / classes.size
        return "most frequent class", np.log(np.maximum(shares, TINY))
    if isinstance(loss, GaussianNLL):
        variance = np.maximum(np.var(checked, axis=0, dtype=np.float64), TINY)
        return "mean", np.concatenate([np.mean(checked, axis=0), np.log(variance)])
    mean = np.asarray(np.mean(checked.reshape(-1, outputs), axis=0, dtype=np.float64))
    if loss.output_activation == "sigmoid":
        shares = np.clip(mean, TINY, 1 - TINY)
        answer = "class" if classes is not None else "answer"
        return f"most frequent {answer}", np.log(shares / (1 - shares))
    if loss.output_activation == "exponential":
        mean = np.asarray(np.log(np.maximum(mean, TINY)))
    return "mean", mean
