"""PyTorch: eager, compiled, and the whole step as one CUDA graph.

This follows PyTorch's documentation. `torch.set_float32_matmul_precision` selects TF32. For
bfloat16 the forward pass runs under `torch.autocast`, with bfloat16 activations. The fused
optimizers use one kernel. Compiled variants compile forward pass, loss and backward pass. The graph
contains a whole step: gathering rows, forward pass, backward pass and update.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from typing import Any

import training
from libraries import Ask, stretches
from process import SkipError
from training import Cell

try:
    import torch
except ImportError:
    raise SkipError("PyTorch is not installed") from None

MATMUL_PRECISION = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
WARM_UP = 3


def start(mode: str) -> str:
    """Return the library's name and version."""
    if not torch.cuda.is_available():
        raise SkipError(f"this PyTorch, {torch.__version__}, finds no CUDA device")
    if "compiled" in mode:
        if importlib.util.find_spec("triton") is None:
            raise SkipError("torch.compile needs Triton, which is not installed")
        if not any(map(shutil.which, ("gcc", "cc", "clang"))):
            raise SkipError("torch.compile needs a C compiler, but PATH has none")
    return f"torch {torch.__version__}"


def train(mode: str, cell: Cell, ask: Ask, target: str = "cuda") -> None:
    """Train on one of PyTorch's devices; only "cuda" has events and graphs."""
    on_device, in_graph, compiled = target == "cuda", "graph" in mode, "compiled" in mode
    torch.set_float32_matmul_precision(MATMUL_PRECISION[cell.precision])
    X, y = (torch.from_numpy(each).to(target) for each in training.whole_batches(cell))
    model = network(cell.sizes).to(target)
    kind: Any = torch.optim.SGD
    if cell.optimizer == "adam":
        kind = functools.partial(torch.optim.Adam, capturable=in_graph)
    optimizer = kind(model.parameters(), lr=training.RATES[cell.optimizer], fused=True)
    order, start = (torch.zeros(n, dtype=torch.int64, device=target) for n in (len(X), 1))
    offsets = torch.arange(cell.batch, device=target)
    total = torch.zeros((), device=target)

    def forward(x: Any, t: Any) -> Any:
        # In a graph, casts must not be cached between steps (PyTorch's documentation).
        narrow = cell.precision == "bfloat16"
        with torch.autocast(target, torch.bfloat16, enabled=narrow, cache_enabled=False):
            return torch.nn.functional.cross_entropy(model(x), t)

    if compiled:
        torch._dynamo.reset()
    loss_of = torch.compile(forward) if compiled else forward

    def step() -> None:
        rows = order.index_select(0, start + offsets)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(X.index_select(0, rows), y.index_select(0, rows))
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())
        start.add_(cell.batch)

    def predict(X: Any) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(X).to(target)).argmax(1).cpu().numpy()

    run_step = captured(step, model, optimizer) if in_graph else step
    steps = len(X) // cell.batch

    def epoch(number: int) -> tuple[float, float | None]:
        order.copy_(torch.from_numpy(training.order(number, len(X))))
        start.zero_()
        total.zero_()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_device else []
        for mark in marks[:1]:
            mark.record()
        for _ in range(steps):
            run_step()
        for mark in marks[1:]:
            mark.record()
        loss = total.item() / steps
        return loss, marks[0].elapsed_time(marks[1]) / 1e3 if marks else None

    stretches(ask, epoch, predict)


def network(sizes: tuple[int, ...]) -> Any:
    """Return the network, with gpunn's initial weights."""
    layers: list[Any] = []
    for weights, biases in training.initial_parameters(sizes):
        dense = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weights.T.copy()))
            dense.bias.copy_(torch.from_numpy(biases))
        layers += [dense, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def captured(step: Any, model: Any, optimizer: Any) -> Any:
    """Return the replay of a step, with unchanged model and optimizer.

    PyTorch's notes on CUDA graphs require some steps on a side stream first. They run only on row
    0, because the order is zero, and their changes are undone.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    model.load_state_dict(before)  # copies in place: the graph's addresses stay
    for state in optimizer.state.values():
        for value in state.values():
            if torch.is_tensor(value):
                value.zero_()
    return graph.replay
