"""PyTorch at the same work: eager, compiled, and the whole step as one CUDA graph.

Written after its documentation. TF32 is asked for by `torch.set_float32_matmul_precision`; for
bfloat16 the forward pass is under `torch.autocast`, whose activations are bfloat16, too. The
optimizers are the fused ones, in one kernel; compiled forms compile forward pass, loss and backward
pass. The graph holds a whole step: gathering rows, forward, backward, update.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from typing import Any

from outcome import SkipStepError
from steps import work
from steps.cells import Ask, Cell, Stretch

MATMUL_PRECISION = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
WARM_UP = 3


def start(mode: str) -> str:
    """Return the name of what is timed."""
    try:
        import torch
    except ImportError:
        raise SkipStepError("PyTorch is not installed") from None
    if not torch.cuda.is_available():
        raise SkipStepError(f"this PyTorch, {torch.__version__}, finds no CUDA device")
    if "compiled" in mode:
        if importlib.util.find_spec("triton") is None:
            raise SkipStepError("torch.compile needs Triton, which is not installed")
        if not any(map(shutil.which, ("gcc", "cc", "clang"))):
            raise SkipStepError("torch.compile needs a C compiler, and there is none on PATH")
    return f"torch {torch.__version__}"


def train(mode: str, cell: Cell, ask: Ask, place: str = "cuda") -> None:
    """Train.

    Parameters
    ----------
    mode : {"eager", "graph", "compiled", "compiled graph"}
    place : str
        PyTorch's device; only "cuda" has events, and graphs.
    """
    import torch

    torch.set_float32_matmul_precision(MATMUL_PRECISION[cell.precision])
    if place == "cuda":
        torch.cuda.reset_peak_memory_stats()
    host_X, host_y = work.whole_batches(cell)
    X, y = torch.from_numpy(host_X).to(place), torch.from_numpy(host_y).to(place)
    model = network(cell.sizes, place)
    optimizer = made_optimizer(model, cell.optimizer, "graph" in mode)
    order = torch.zeros(len(X), dtype=torch.int64, device=place)
    start = torch.zeros(1, dtype=torch.int64, device=place)
    offsets = torch.arange(cell.batch, device=place)
    total = torch.zeros((), device=place)

    def forward(x: Any, t: Any) -> Any:
        # Casts must not be kept from one step to the next in a graph (its documentation).
        narrow = cell.precision == "bfloat16"
        with torch.autocast(place, torch.bfloat16, enabled=narrow, cache_enabled=False):
            return torch.nn.functional.cross_entropy(model(x), t)

    if "compiled" in mode:
        torch._dynamo.reset()
    loss_of = torch.compile(forward) if "compiled" in mode else forward

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
            return model(torch.from_numpy(X).to(place)).argmax(1).cpu().numpy()

    run_step = captured(step, model, optimizer) if "graph" in mode else step
    steps, number, done = len(X) // cell.batch, 0, None
    while epochs := ask(done):
        losses, on_device = [], 0.0
        began = time.perf_counter()
        for _ in range(epochs):
            order.copy_(torch.from_numpy(work.order(number, len(X))))
            start.zero_()
            total.zero_()
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(2 * (place == "cuda"))]
            for mark in marks[:1]:
                mark.record()
            for _ in range(steps):
                run_step()
            for mark in marks[1:]:
                mark.record()
            losses.append(total.item() / steps)
            on_device += marks[0].elapsed_time(marks[1]) / 1e3 if marks else 0.0
            number += 1
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_reserved() if marks else None
        done = Stretch(seconds, on_device if marks else None, losses, predict, peak)


def network(sizes: tuple[int, ...], place: str) -> Any:
    """Return the network, with gpunn's initial weights."""
    import torch

    layers: list[Any] = []
    for weights, biases in work.initial_parameters(sizes):
        dense = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weights.T.copy()))
            dense.bias.copy_(torch.from_numpy(biases))
        layers += [dense, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(place)


def made_optimizer(model: Any, name: str, in_graph: bool) -> Any:
    """Return PyTorch's fused optimizer; Adam's counts steps on the device in a graph."""
    import torch

    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=work.RATES[name], fused=True)
    return torch.optim.Adam(
        model.parameters(), lr=work.RATES[name], fused=True, capturable=in_graph
    )


def captured(step: Any, model: Any, optimizer: Any) -> Any:
    """Return a step's replay, with model and optimizer as they were before.

    Some steps on a side stream come first, as PyTorch's notes on CUDA graphs ask for. They run on
    row 0 alone, the order being zeros, and what they change is taken back.
    """
    import torch

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
