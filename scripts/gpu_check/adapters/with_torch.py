"""PyTorch: eager, compiled, and the whole step as one CUDA graph.

This follows PyTorch's documentation. `torch.set_float32_matmul_precision` selects TF32. For
bfloat16 the forward pass runs under `torch.autocast`, with bfloat16 activations. The fused
optimizers use one kernel. Compiled variants compile forward pass, loss and backward pass. The graph
contains a whole step: gathering rows, forward pass, backward pass and update. The mode "defaults"
is eager, with PyTorch's default precision, float32, and default kind of optimizer.
"""

import functools
import importlib.util
import shutil
from types import SimpleNamespace
from typing import Any

import elsewhere
import training
from cell import Cell
from libraries import Ask, stretches
from process import SkipError
from training import Rule

from gpunn.optimizers import SGD, AdamW

try:
    import torch
except ImportError:
    raise SkipError("PyTorch is not installed") from None

MATMUL_PRECISION = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
WARM_UP = 3


def start(mode: str) -> str:
    if not torch.cuda.is_available():
        raise SkipError(f"this PyTorch, {torch.__version__}, finds no CUDA device")
    if "compiled" in mode:
        if importlib.util.find_spec("triton") is None:
            raise SkipError("torch.compile needs Triton, which is not installed")
        if not any(map(shutil.which, ("gcc", "cc", "clang"))):
            raise SkipError("torch.compile needs a C compiler, but PATH has none")
    return f"torch {torch.__version__}"


def functions() -> SimpleNamespace:
    nn = torch.nn.functional

    def convolution(x: Any, W: Any, b: Any, patch: tuple[int, int, int]) -> Any:
        kernels = W.reshape(-1, *patch).permute(0, 3, 1, 2)
        images = x.permute(0, 3, 1, 2)  # channels last
        return nn.conv2d(images, kernels, b, padding="same").permute(0, 2, 3, 1)

    def max_pool(x: Any, size: tuple[int, int]) -> Any:
        images = x.permute(0, 3, 1, 2)
        return nn.max_pool2d(images, size, ceil_mode=True).permute(0, 2, 3, 1)

    return SimpleNamespace(
        **{name: getattr(torch, name) for name in ("concatenate", "cos", "einsum", "exp", "log1p")},
        **{name: getattr(nn, name) for name in ("cross_entropy", "dropout", "linear", "mish")},
        identity=lambda x: x,
        convolution=convolution,
        max_pool=max_pool,
        relu=nn.relu,
        gelu=functools.partial(nn.gelu, approximate="tanh"),
        layer_norm=lambda x, scale, shift, epsilon: nn.layer_norm(
            x, scale.shape, scale, shift, epsilon
        ),
        embed=lambda codes, table: nn.embedding(codes.long(), table),
        squared_error=lambda outputs, targets: nn.mse_loss(outputs, targets.expand_as(outputs)),
    )


def train(mode: str, cell: Cell, ask: Ask, target: str = "cuda") -> None:
    """Train on one of PyTorch's devices; only "cuda" has events and graphs."""
    on_device, in_graph, compiled = target == "cuda", "graph" in mode, "compiled" in mode
    torch.set_float32_matmul_precision(MATMUL_PRECISION[cell.precision])
    task, rule = training.network(cell), training.RULES[cell.optimizer]
    X, y = (torch.from_numpy(each).to(target) for each in (task.X, task.y))
    initial = training.initial_parameters(task)
    parameters = {name: on(target, name, values) for name, (values, _) in initial.items()}
    optimizer = optimizer_of(rule, parameters, initial, mode)
    network = elsewhere.forward_of(task.layers, functions())
    mean_loss = elsewhere.loss_of(task.loss, functions())
    order, start = (torch.zeros(n, dtype=torch.int64, device=target) for n in (len(X), 1))
    offsets = torch.arange(cell.batch, device=target)
    total = torch.zeros((), device=target)

    def forward(x: Any, t: Any) -> Any:
        # In a graph, casts must not be cached between steps (PyTorch's documentation).
        narrow = cell.precision == "bfloat16"
        with torch.autocast(target, torch.bfloat16, enabled=narrow, cache_enabled=False):
            return mean_loss(network(parameters, x), t)

    if compiled:
        torch._dynamo.reset()
    loss_of = torch.compile(forward) if compiled else forward

    def step() -> None:
        rows = order.index_select(0, start + offsets)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(X.index_select(0, rows), y.index_select(0, rows))
        loss.backward()
        if rule.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), rule.max_norm)
        optimizer.step()
        total.add_(loss.detach())
        start.add_(cell.batch)

    def predict(X: Any) -> Any:
        with torch.no_grad():
            outputs = network(parameters, torch.from_numpy(X).to(target))
            return outputs.argmax(1).cpu().numpy()

    run_step = captured(step, parameters, optimizer) if in_graph else step
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


def on(target: str, name: str, values: Any) -> Any:
    """Return a parameter; shared weights have the shape (outputs, inputs) of `nn.Linear`."""
    if name.endswith("weights") and values.ndim == 2:
        values = values.T.copy()
    return torch.from_numpy(values).to(target).requires_grad_()


def optimizer_of(rule: Rule, parameters: Any, initial: Any, mode: str) -> Any:
    groups = [
        {"params": [parameters[name] for name, (_, decays) in initial.items() if decays]},
        {
            "params": [parameters[name] for name, (_, decays) in initial.items() if not decays],
            "weight_decay": 0.0,
        },
    ]
    options: dict[str, Any] = {} if mode == "defaults" else {"fused": True}
    if rule.kind is SGD:
        return torch.optim.SGD(groups, lr=rule.rate, **options)
    kind = torch.optim.AdamW if rule.kind is AdamW else torch.optim.Adam
    options |= {"weight_decay": rule.decay, "capturable": "graph" in mode}
    return kind(groups, lr=rule.rate, **options)


def captured(step: Any, parameters: Any, optimizer: Any) -> Any:
    """Return the replay of a step, with unchanged parameters and optimizer.

    PyTorch's notes on CUDA graphs require some steps on a side stream first. These steps
    run only on row 0, because the order is zero, and their changes are undone.
    """
    before = {name: value.detach().clone() for name, value in parameters.items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for name, value in before.items():
            parameters[name].copy_(value)  # in place: the graph's addresses stay
    for state in optimizer.state.values():
        for value in state.values():
            if torch.is_tensor(value):
                value.zero_()
    return graph.replay
