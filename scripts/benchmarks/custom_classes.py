"""Compare training steps with custom classes and with the nearest built-in classes.

Each custom class is written as a user would write it. Times are processor times of whole epochs;
each is the minimum of several turns, in which the two networks alternate.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers
from gpunn.initializers import Ones, Orthogonal
from gpunn.layers import Dense
from gpunn.parameters import ParameterSpec


@dataclass(frozen=True)
class CustomSiLU(activations.Activation):
    name = "custom_silu"

    def value(self, xp, z):
        return z / (1 + xp.exp(-z))

    def derivative(self, xp, z, a):
        sigmoid = 1 / (1 + xp.exp(-z))
        return sigmoid + a * (1 - sigmoid)


@dataclass(frozen=True)
class CustomMish(activations.Activation):
    name = "custom_mish"

    def value(self, xp, z):
        return z * xp.tanh(xp.log1p(xp.exp(z)))

    def derivative(self, xp, z, a):
        t = xp.tanh(xp.log1p(xp.exp(z)))
        return t + z * (1 - t * t) / (1 + xp.exp(-z))


@dataclass(frozen=True)
class HardTanh(activations.Activation):
    limit: float = 1.0

    name = "custom_hard_tanh"
    from_output = True

    def value(self, xp, z):
        return xp.minimum(xp.maximum(z, -self.limit), self.limit)

    def derivative(self, xp, z, a):
        return xp.astype(xp.abs(a) < self.limit, a.dtype)


@dataclass(frozen=True)
class LogCosh(losses.Loss):
    name = "custom_log_cosh"

    def values(self, xp, predictions, targets):
        distance = xp.abs(predictions - targets)
        return xp.mean(distance + xp.log1p(xp.exp(-2 * distance)) - math.log(2), axis=1)

    def gradients(self, xp, predictions, targets):
        return xp.tanh(predictions - targets) / predictions.shape[1]


@dataclass(frozen=True)
class Focal(losses.BinaryCrossEntropy):
    """The focal loss of Lin et al. 2017, for logits."""

    gamma: float = 2.0

    name = "custom_focal"

    def of_truth(self, xp, predictions, targets):
        yes = 1 / (1 + xp.exp(-predictions))
        return xp.where(targets > 0.5, yes, 1 - yes)

    def values(self, xp, predictions, targets):
        p = self.of_truth(xp, predictions, targets)
        return xp.mean(-((1 - p) ** self.gamma) * xp.log(p + 1e-7), axis=1)

    def gradients(self, xp, predictions, targets):
        p = self.of_truth(xp, predictions, targets)
        slope = (1 - p) ** self.gamma * (self.gamma * p * xp.log(p + 1e-7) - (1 - p))
        return (2 * targets - 1) * slope / predictions.shape[1]


@dataclass(frozen=True)
class GELU(activations.Activation):
    name = "custom_gelu"

    def value(self, xp, z):
        return 0.5 * z * (1 + xp.tanh(0.7978845608 * (z + 0.044715 * z**3)))


@dataclass(frozen=True)
class Squareplus(activations.Activation):
    """Barron 2021."""

    width: float = 4.0

    name = "custom_squareplus"

    def value(self, xp, z):
        return 0.5 * (z + xp.sqrt(z * z + self.width))


@dataclass(frozen=True)
class TanhSoft(activations.Activation):
    """Biswas et al. 2021."""

    name = "custom_tanh_soft"

    def value(self, xp, z):
        return xp.tanh(0.87 * z) * xp.log1p(xp.exp(z))


@dataclass(frozen=True)
class TanhExp(activations.Activation):
    """Liu & Di 2021."""

    name = "custom_tanh_exp"

    def value(self, xp, z):
        return z * xp.tanh(xp.exp(z))


@dataclass(frozen=True)
class PseudoHuber(losses.Loss):
    name = "custom_pseudo_huber"

    def values(self, xp, predictions, targets):
        return xp.mean(xp.sqrt(1 + (predictions - targets) ** 2) - 1, axis=1)


@dataclass(frozen=True)
class Cosine(losses.Loss):
    """One minus the cosine of the angle between predictions and targets."""

    name = "custom_cosine"

    def values(self, xp, predictions, targets):
        squares = xp.sum(predictions**2, axis=1) * xp.sum(targets**2, axis=1)
        return 1 - xp.sum(predictions * targets, axis=1) / xp.sqrt(squares + 1e-8)


@dataclass(frozen=True)
class LogCoshOfValues(LogCosh):
    name = "custom_log_cosh_of_values"

    gradients = losses.Loss.gradients


@dataclass(frozen=True)
class FocalOfLabels(losses.SoftmaxCrossEntropy):
    gamma: float = 2.0

    name = "custom_focal_of_labels"

    def values(self, xp, predictions, targets):
        shifted = predictions - xp.max(predictions, axis=1, keepdims=True)
        logarithms = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
        is_label = targets[:, None] == xp.arange(predictions.shape[1], dtype=targets.dtype)
        of_label = xp.sum(xp.where(is_label, logarithms, 0.0), axis=1)
        return -((1 - xp.exp(of_label)) ** self.gamma) * of_label


@dataclass(frozen=True)
class Gaussian(losses.Loss):
    """The likelihood of a mean and the logarithm of a variance, for each target."""

    name = "custom_gaussian"

    def values(self, xp, predictions, targets):
        outputs = targets.shape[1]
        mean, log_variance = predictions[:, :outputs], predictions[:, outputs:]
        scaled = (targets - mean) ** 2 * xp.exp(-log_variance)
        return 0.5 * xp.sum(scaled + log_variance, axis=1)

    def check_targets(self, y, outputs):
        return losses.real_targets(y, outputs // 2)


@dataclass(frozen=True)
class AbsoluteError(metrics.ValueMetric):
    name = "custom_absolute_error"
    larger_is_better = False

    def measure(self, xp, predictions, targets, weights):
        errors = xp.mean(xp.abs(predictions - targets), axis=1)
        return xp.sum(weights * errors, keepdims=True)


@dataclass(eq=False)
class Adagrad(optimizers.Optimizer):
    """Duchi et al. 2011."""

    learning_rate: float = 0.05
    epsilon: float = 1e-8

    name = "custom_adagrad"
    slots = ("square",)

    def update(self, xp, values, gradients, slots, learning_rate, step):
        square = slots["square"]
        square += gradients * gradients
        values -= learning_rate * gradients / (xp.sqrt(square) + self.epsilon)


@dataclass(eq=False)
class AdaBelief(optimizers.Optimizer):
    """Zhuang et al. 2020, algorithm 2."""

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-12

    name = "custom_adabelief"
    slots = ("mean", "variance")

    def update(self, xp, values, gradients, slots, learning_rate, step):
        mean, variance = slots["mean"], slots["variance"]
        t = xp.astype(step, values.dtype)
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        surprise = (gradients - mean) ** 2
        variance[...] = self.beta2 * variance + (1 - self.beta2) * surprise + self.epsilon
        corrected = variance / (1 - self.beta2**t)
        rate = learning_rate / (1 - self.beta1**t)
        values -= rate * mean / (xp.sqrt(corrected) + self.epsilon)


@dataclass(eq=False)
class Lion(optimizers.Optimizer):
    """Chen et al. 2023."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99

    name = "custom_lion"
    slots = ("mean",)

    def update(self, xp, values, gradients, slots, learning_rate, step):
        mean = slots["mean"]
        values -= learning_rate * xp.sign(self.beta1 * mean + (1 - self.beta1) * gradients)
        mean[...] = self.beta2 * mean + (1 - self.beta2) * gradients


@dataclass(eq=False)
class Yogi(optimizers.Optimizer):
    """Zaheer et al. 2018."""

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-3

    name = "custom_yogi"
    slots = ("mean", "square")

    def update(self, xp, values, gradients, slots, learning_rate, step):
        mean, square = slots["mean"], slots["square"]
        t = xp.astype(step, values.dtype)
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        new = gradients**2
        square[...] = square - (1 - self.beta2) * xp.sign(square - new) * new
        rate = learning_rate * xp.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        values -= rate * mean / (xp.sqrt(square) + self.epsilon)


@dataclass(eq=False)
class CautiousAdam(optimizers.Adam):
    """Liang et al. 2024."""

    name = "custom_cautious_adam"

    def update(self, xp, values, gradients, slots, learning_rate, step):
        mean, square = slots["mean"], slots["square"]
        t = xp.astype(step, values.dtype)
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients**2
        root = xp.sqrt(square / (1 - self.beta2**t)) + self.epsilon
        change = mean / (1 - self.beta1**t) / root
        values -= learning_rate * change * xp.astype(change * gradients > 0, values.dtype)


@dataclass(eq=False)
class DiffGrad(optimizers.Adam):
    """Dubey et al. 2019."""

    name = "custom_diff_grad"
    slots = ("mean", "square", "before")

    def update(self, xp, values, gradients, slots, learning_rate, step):
        mean, square, before = slots["mean"], slots["square"], slots["before"]
        t = xp.astype(step, values.dtype)
        friction = 1 / (1 + xp.exp(-xp.abs(before - gradients)))
        mean[...] = self.beta1 * mean + (1 - self.beta1) * gradients
        square[...] = self.beta2 * square + (1 - self.beta2) * gradients**2
        before[...] = gradients
        root = xp.sqrt(square / (1 - self.beta2**t)) + self.epsilon
        values -= learning_rate * friction * (mean / (1 - self.beta1**t)) / root


CLASSES: dict[str, tuple[str, Any, str]] = {
    "SiLU": ("activation", CustomSiLU(), "silu"),
    "Mish": ("activation", CustomMish(), "mish"),
    "hard tanh": ("activation", HardTanh(), "relu"),
    "log cosh": ("loss", LogCosh(), "huber"),
    "focal": ("loss", Focal(), "binary_cross_entropy"),
    "GELU by value": ("activation", GELU(), "gelu"),
    "log cosh by values": ("loss", LogCoshOfValues(), "huber"),
    "focal of labels by values": ("loss", FocalOfLabels(), "softmax_cross_entropy"),
    "Gaussian by values": ("loss", Gaussian(), "mean_squared_error"),
    "squareplus": ("activation", Squareplus(), "softplus"),
    "tanh of exp": ("activation", TanhExp(), "mish"),
    "tanh of softplus": ("activation", TanhSoft(), "mish"),
    "pseudo-Huber": ("loss", PseudoHuber(), "huber"),
    "cosine": ("loss", Cosine(), "mean_squared_error"),
    "absolute error": ("metrics", AbsoluteError(), "mean_absolute_error"),
    "Adagrad": ("optimizer", Adagrad(), "rmsprop"),
    "AdaBelief": ("optimizer", AdaBelief(), "adam"),
    "Lion": ("optimizer", Lion(), "adam"),
    "Yogi": ("optimizer", Yogi(), "adam"),
    "Cautious Adam": ("optimizer", CautiousAdam(), "adam"),
    "DiffGrad": ("optimizer", DiffGrad(), "adam"),
}
"""What each class is, an object of the class, and the nearest built-in class."""


@dataclass(eq=False)
class Factors(layers.Block):
    name = "custom_factors"

    def own_parameters(self, input_shape):
        return [ParameterSpec("factors", input_shape, Ones(), decay=False)]

    def forward(self, x):
        return x * self.values["factors"]


@dataclass(eq=False)
class Gate(layers.Block):
    name = "custom_gate"

    def own_parameters(self, input_shape):
        return [ParameterSpec("weights", (*input_shape, *input_shape), Orthogonal())]

    def forward(self, xp, x):
        return x / (1 + xp.exp(-(x @ self.values["weights"])))


@dataclass(eq=False)
class Shortcut(layers.Block):
    body: Sequence[layers.Layer]

    name = "custom_shortcut"

    def forward(self, x):
        return x + self.body(x)


@dataclass(eq=False)
class Excitation(layers.Block):
    """A gate from all features (Hu et al. 2018)."""

    body: Sequence[layers.Layer]

    name = "custom_excitation"

    def forward(self, xp, x):
        return x / (1 + xp.exp(-self.body(x)))


@dataclass(eq=False)
class GatedUnits(layers.Block):
    """Gated linear units (Dauphin et al. 2017)."""

    body: Sequence[layers.Layer]
    gate: Sequence[layers.Layer]

    name = "custom_gated_units"

    def forward(self, xp, x):
        return self.body(x) / (1 + xp.exp(-self.gate(x)))


@dataclass(eq=False)
class TwoExperts(layers.Block):
    """A mixture of two experts with a softmax gate (Jacobs et al. 1991)."""

    first: Sequence[layers.Layer]
    second: Sequence[layers.Layer]
    gate: Sequence[layers.Layer]

    name = "custom_two_experts"

    def forward(self, xp, x):
        z = self.gate(x)
        e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
        p = e / xp.sum(e, axis=-1, keepdims=True)
        return p[:, :1] * self.first(x) + p[:, 1:] * self.second(x)


def two_layers(units: int) -> list[layers.Layer]:
    return [Dense(units, "relu"), Dense(units)]


LAYERS: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
    "factors": (lambda units: [Factors()], lambda units: [layers.Scale()]),
    "gate": (lambda units: [Gate()], lambda units: [Dense(units, "sigmoid", bias=False)]),
    "residual": (lambda units: [Shortcut(two_layers(units))], two_layers),
    "excitation": (
        lambda units: [Excitation([Dense(units // 4, "relu"), Dense(units)])],
        lambda units: [Dense(units // 4, "relu"), Dense(units, "sigmoid")],
    ),
    "gated units": (
        lambda units: [GatedUnits([Dense(units)], [Dense(units)])],
        lambda units: [Dense(units), Dense(units, "sigmoid")],
    ),
    "two experts": (
        lambda units: [TwoExperts([Dense(units)], [Dense(units)], [Dense(2)])],
        lambda units: [Dense(units), Dense(units)],
    ),
}
"""Functions that return a custom layer and the nearest built-in layers, for a number of units."""

NETWORKS = {
    "64-32-10, batch 32": ((64, 32, 10), 32, 500),
    "100-256-256-256-1, batch 256": ((100, 256, 256, 256, 1), 256, 3),
    "784-512-512-10, batch 128": ((784, 512, 512, 10), 128, 2),
}
"""Widths, rows of a batch, and batches of an epoch."""


def targets_for(loss: Any, rows: int, outputs: int) -> np.ndarray:
    random = np.random.default_rng(1)
    if loss == "softmax_cross_entropy" or isinstance(loss, FocalOfLabels):
        return random.integers(0, outputs, rows)
    width = outputs // 2 if isinstance(loss, Gaussian | losses.GaussianNLL) else outputs
    return (random.random((rows, width)) > 0.5).astype(np.float32)


def training(sizes: tuple[int, ...], batch: int, batches: int, threads: int, **chosen: Any) -> Any:
    activation, more = chosen.pop("activation", "relu"), chosen.pop("layers", lambda units: [])
    inputs, *hidden, outputs = sizes
    dense = [Dense(units, activation) for units in hidden]
    dense[1:1] = more(hidden[0])
    backend = gpunn.get_backend("numpy", threads=threads)
    model = gpunn.Sequential([*dense, Dense(outputs)], inputs, backend)
    chosen = {"loss": "mean_squared_error", "optimizer": "adam"} | chosen
    chosen["metrics"] = [chosen["metrics"]] if "metrics" in chosen else []
    trainer = gpunn.Trainer(model, **chosen)
    random = np.random.default_rng(0)
    X = random.normal(size=(batch * batches, inputs)).astype(np.float32)
    y = targets_for(chosen["loss"], len(X), outputs)
    return lambda epochs: trainer.fit(X, y, epochs=epochs, batch_size=batch, progress=False)


def microseconds(trainings: list[Callable[[int], Any]], updates: int, turns: int) -> list[float]:
    """Return the processor time of an update: eight epochs minus five, divided by the updates.

    Fits of at most four epochs train in another way, unless they share the program of earlier fits.
    """
    least = [[math.inf, math.inf] for _ in trainings]
    for _ in range(turns):
        for times, train in zip(least, trainings, strict=True):
            for k, epochs in enumerate((5, 8)):
                began = time.process_time()
                train(epochs)
                times[k] = min(times[k], time.process_time() - began)
    return [max(longer - shorter, 1e-9) / 3 / updates * 1e6 for shorter, longer in least]


SIXTEEN: dict[str, Callable[[int], Any]] = {
    "ReLU layers": lambda units: Dense(units, "relu"),
    "layers with a custom activation": lambda units: Dense(units, CustomMish()),
    "residual blocks": lambda units: layers.Residual([Dense(units, "relu")]),
    "custom blocks": lambda units: Shortcut([Dense(units, "relu")]),
}
"""Functions that return one of the layers that `first_fits` records."""


def first_fits(threads: int, turns: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in SIXTEEN}
    for turn in range(turns + 1):
        batches = 2 + turn  # a fit of equal networks with as many rows would share a program
        for name, one in SIXTEEN.items():
            began = time.process_time()
            more = [one(32) for _ in range(16)]
            chosen = training((64, 32, 10), 32, batches, threads, layers=lambda _, more=more: more)
            chosen(1)
            times[name].append((time.process_time() - began) * 1e3)
    medians = {name: statistics.median(each[1:]) for name, each in times.items()}
    least = medians["ReLU layers"]
    for name, each in medians.items():
        click.echo(f"16 {name}: {each:.1f} ms, {each - least:+.1f}")


@click.command("custom-classes", context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(1), default=1)
@click.option("--turns", type=click.IntRange(1), default=9)
@click.option("--first-fits", "only_first", is_flag=True, help="Measure first fits instead.")
def command(threads: int, turns: int, only_first: bool) -> None:
    """Compare training steps with custom classes and with the nearest built-in classes."""
    if only_first:
        first_fits(threads, turns)
        return
    for network, (sizes, batch, batches) in NETWORKS.items():
        ratios = []
        for name, given in LAYERS.items():
            pair = [training(sizes, batch, batches, threads, layers=each) for each in given]
            own, nearest = microseconds(pair, batches, turns)
            ratios.append(own / nearest)
            click.echo(f"{network}: {name} {own:.1f} us, built-in {nearest:.1f}: {ratios[-1]:.2f}")
        for name, (kind, custom, built_in) in CLASSES.items():
            two = isinstance(custom, FocalOfLabels | Gaussian)  # they need two outputs
            widths = (*sizes[:-1], max(sizes[-1], 2)) if two else sizes
            pair = [
                training(widths, batch, batches, threads, **{kind: each})
                for each in (custom, built_in)
            ]
            own, nearest = microseconds(pair, batches, turns)
            ratios.append(own / nearest)
            click.echo(
                f"{network}: {name} {own:.1f} us, {built_in} {nearest:.1f}: {ratios[-1]:.2f}"
            )
        click.echo(f"{network}: geometric mean {statistics.geometric_mean(ratios):.2f}")
