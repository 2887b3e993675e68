"""The steps, in their order, and what each may take."""

from __future__ import annotations

from dataclasses import dataclass

BUDGET = 480.0
"""Seconds for everything."""


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Parameters
    ----------
    name : str
    call : str
        Module of `steps` and function in it, with arguments after a colon: "speed_torch.run:graph".
    limit : float
        Seconds after which it is stopped and has failed.
    """

    name: str
    call: str
    limit: float


STEPS = (
    Step("doctor", "doctor.run", 40),
    Step("operations against NumPy", "operations.run", 90),
    Step("tests on this device", "tests.run", 200),
    Step("kernel sources", "sources.run", 60),
    Step("graph against eager", "graph.run", 40),
    Step("precision of products", "precision.run", 30),
    Step("fused products", "fused.run", 30),
    Step("training on both backends", "curves.run", 60),
    Step("speed: gpunn, graph", "speed_gpunn.run:graph", 40),
    Step("speed: gpunn, eager", "speed_gpunn.run:eager", 40),
    Step("speed: PyTorch, eager", "speed_torch.run:eager", 40),
    Step("speed: PyTorch, CUDA graph", "speed_torch.run:graph", 40),
    Step("speed: PyTorch, compiled", "speed_torch.run:compiled", 75),
    Step("speed: JAX", "speed_jax.run", 60),
    Step("compute-sanitizer memcheck", "sanitizer.run:memcheck", 60),
    Step("compute-sanitizer racecheck", "sanitizer.run:racecheck", 60),
)
