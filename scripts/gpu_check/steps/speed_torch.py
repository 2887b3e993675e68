"""PyTorch at the same work: eager, the whole step as one CUDA graph, and compiled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import device
from outcome import Outcome, SkipStepError
from steps import speed, work


def run(mode: str) -> Outcome:
    """Time PyTorch."""
    if device.REHEARSAL:
        raise SkipStepError("a rehearsal: PyTorch can't use the emulated device")
    try:
        import torch
    except ImportError:
        raise SkipStepError("PyTorch is not installed") from None
    if not torch.cuda.is_available():
        raise SkipStepError(f"this PyTorch, {torch.__version__}, finds no CUDA device")

    def train(data: work.Work, batch: int) -> Iterator[speed.Epoch]:
        return epochs(data, batch, mode, "cuda")

    return speed.measure(
        train, torch.cuda.max_memory_reserved, library=f"torch {torch.__version__}"
    )


def epochs(data: work.Work, batch: int, mode: str, place: str) -> Iterator[speed.Epoch]:
    """Train, an epoch at a time.

    Parameters
    ----------
    mode : {"eager", "graph", "compiled"}
    place : str
        PyTorch's device; only "cuda" has events, and graphs.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    host_X, host_y = data.cut(batch)
    X, y = torch.from_numpy(host_X).to(place), torch.from_numpy(host_y).to(place)
    X_test = torch.from_numpy(data.X_test).to(place)
    y_test = torch.from_numpy(data.y_test).to(place)
    model = network(data, place)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=work.RATE, fused=True, capturable=mode == "graph"
    )
    order = torch.zeros(len(X), dtype=torch.int64, device=place)
    start = torch.zeros(1, dtype=torch.int64, device=place)
    offsets = torch.arange(batch, device=place)
    total = torch.zeros((), device=place)

    def forward(x: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), t)

    loss_of = torch.compile(forward) if mode == "compiled" else forward

    def step() -> None:
        rows = order.index_select(0, start + offsets)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(X.index_select(0, rows), y.index_select(0, rows))
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())
        start.add_(batch)

    run_step = captured(step, model, optimizer) if mode == "graph" else step
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if place == "cuda" else None
    steps = len(X) // batch
    number = 0
    while True:
        began = time.perf_counter()
        order.copy_(torch.from_numpy(speed.permutation(number, len(X))))
        start.zero_()
        total.zero_()
        if marks:
            marks[0].record()
        for _ in range(steps):
            run_step()
        if marks:
            marks[1].record()
        loss = total.item() / steps
        seconds = time.perf_counter() - began
        with torch.no_grad():
            accuracy = (model(X_test).argmax(1) == y_test).float().mean().item()
        on_device = marks[0].elapsed_time(marks[1]) / 1e3 if marks else None
        yield speed.Epoch(seconds, on_device, loss, accuracy)
        number += 1


def network(data: work.Work, place: str) -> Any:
    """Return the network, with He's initial weights."""
    import torch

    layers: list[Any] = []
    for weights in work.initial_weights(data.sizes, work.SEED):
        dense = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(weights.T.copy()))
            dense.bias.zero_()
        layers += [dense, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(place)


def captured(step: Any, model: Any, optimizer: Any) -> Any:
    """Return a step's replay, with model and optimizer as they were before.

    Three steps on a side stream come first, as PyTorch's notes on CUDA graphs ask for. They run on
    row 0 alone, the order being zeros, and what they change is taken back.
    """
    import torch

    before = {name: value.clone() for name, value in model.state_dict().items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    model.load_state_dict(before)  # copies in place: the graph's addresses stay
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()
    return graph.replay
