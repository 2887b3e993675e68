"""PyTorch: resident tensors, batches by index_select, fused optimizer."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.adapters import AfterEpoch, Epoch, logs_of
from benchmarks.work import Rows, Task, initial_weights

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

ACTIVATIONS = {
    "elu": torch.nn.ELU,
    "gelu": partial(torch.nn.GELU, approximate="tanh"),
    "leaky_relu": torch.nn.LeakyReLU,
    "mish": torch.nn.Mish,
    "relu": torch.nn.ReLU,
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
}
NORMALIZATIONS = {
    "batch_norm": partial(torch.nn.BatchNorm1d, momentum=0.1, eps=1e-5),
    "layer_norm": partial(torch.nn.LayerNorm, eps=1e-5),
}
LOSSES: dict[str, Callable[..., Any]] = {
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "half_squared_error": lambda p, t, **options: functional.mse_loss(p, t, **options) / 2,
    "huber": functional.huber_loss,
    "mean_squared_error": functional.mse_loss,
    "softmax_cross_entropy": functional.cross_entropy,
}
METRICS: dict[str, Callable[[Any, Any], Any]] = {  # of each row
    "accuracy": lambda p, t: (p.argmax(1) == t).to(p.dtype),
    "binary_accuracy": lambda p, t: ((p > 0) == (t > 0.5)).to(p.dtype).mean(1),
    "mean_absolute_error": lambda p, t: (p - t).abs().mean(1),
}


class Eager:
    def prepared(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        return forward

    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
        torch.manual_seed(seed)
        model = network(task, seed)
        optimizer = optimizer_of(task, model)
        tensors = [torch.from_numpy(array) for array in rows if array is not None]

        def predict(rows: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return model(torch.from_numpy(rows)).argmax(1).numpy()

        forward = self.prepared(forward_of(task, model))
        generator = np.random.default_rng(seed)
        steps = len(rows.X) // task.batch_size
        epoch = 0
        while True:
            began = time.perf_counter()
            order = torch.from_numpy(generator.permutation(len(rows.X)))
            rates = task.rate(epoch + (np.arange(steps) + 0.5) / steps).tolist()
            records = []
            for batch, rate in zip(order.split(task.batch_size), rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                loss, *metrics = forward(*(tensor.index_select(0, batch) for tensor in tensors))
                loss.backward()
                if task.max_norm is not None:
                    parameters = model.parameters()
                    torch.nn.utils.clip_grad_norm_(parameters, task.max_norm, foreach=True)
                optimizer.step()
                records.append((loss.detach(), *metrics))
            means = [torch.stack(values).mean().item() for values in zip(*records, strict=True)]
            logs = logs_of(task, means)
            seconds = time.perf_counter() - began
            epoch += 1
            model.eval()
            if after_epoch(Epoch(seconds, logs, predict)):
                return
            model.train()


class Compiled(Eager):
    def prepared(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        torch._dynamo.reset()  # so that no network of this process counts as a recompilation
        return torch.compile(forward, dynamic=False)


def network(task: Task, seed: int) -> torch.nn.Sequential:
    dtype = getattr(torch, task.dtype)
    layers: list[torch.nn.Module] = []
    for weights in initial_weights(task, seed):
        units = weights.shape[1]
        dense = torch.nn.Linear(*weights.shape, dtype=dtype)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weights.T))
            dense.bias.zero_()
        hidden: list[torch.nn.Module] = [ACTIVATIONS[task.activation]()]
        if task.normalization:
            hidden.insert(0, NORMALIZATIONS[task.normalization](units, dtype=dtype))
        if task.dropout:
            hidden.append(torch.nn.Dropout(task.dropout))
        layers += [dense, *hidden]
    return torch.nn.Sequential(*layers[: -len(hidden)])


def forward_of(task: Task, model: torch.nn.Module) -> Callable[..., Any]:
    of_rows = [METRICS[name] for name in task.metrics]
    options = {"label_smoothing": task.label_smoothing} if task.label_smoothing else {}
    loss_of = partial(LOSSES[task.loss], **options)

    def plain(x: Any, t: Any) -> tuple[Any, ...]:
        outputs = model(x)
        p = outputs.detach()
        return loss_of(outputs, t), *(of(p, t).mean() for of in of_rows)

    def weighted(x: Any, t: Any, w: Any) -> tuple[Any, ...]:
        outputs = model(x)
        p, share = outputs.detach(), w / w.sum()
        losses = loss_of(outputs, t, reduction="none").reshape(len(w), -1).mean(1)
        return share @ losses, *(share @ of(p, t) for of in of_rows)

    return weighted if task.weighted else plain


def optimizer_of(task: Task, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer, in the fastest of PyTorch's documented implementations.

    AdamW's weight decay is decoupled; in the others it is part of the gradient, like an L2 penalty.
    Sample weights have mean 1, so their sum is about the number of rows.
    """
    decay = task.weight_decay or task.l2_penalty / task.batch_size
    weights = [each for each in model.parameters() if each.ndim == 2]
    others = [each for each in model.parameters() if each.ndim == 1]
    groups: Any = model.parameters()
    if decay:
        groups = [
            {"params": weights, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0},
        ]
    rate = task.learning_rate
    if task.optimizer == "sgd":
        momentum = task.momentum
        return torch.optim.SGD(groups, rate, momentum, nesterov=momentum > 0, fused=True)
    if task.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, rate, alpha=0.9, eps=1e-8, foreach=True)
    adams = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return adams[task.optimizer](groups, rate, weight_decay=0.0, fused=True)
