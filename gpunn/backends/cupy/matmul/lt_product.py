"""Products of float32 matrices by cuBLASLt, with or without an epilogue."""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

import cupy
import numpy as np

from gpunn.backends.cupy.matmul.cublas import COMPUTE_TYPES, workspace_bytes
from gpunn.backends.cupy.matmul.cublaslt import (
    INVALID,
    NAMES,
    PLAIN,
    Algorithm,
    Plan,
    RefusalError,
    alignment,
    handles,
)
from gpunn.backends.cupy.matmul.selection import Selection
from gpunn.backends.cupy.scratch import Scratch
from gpunn.typing import Array

logger = logging.getLogger("gpunn")


class Plans(threading.local):
    """Plans of one thread. Each product changes its plan, so threads can't share plans."""

    def __init__(self) -> None:
        self.by_problem: dict[tuple[Any, ...], Plan | str] = {}


class LtProduct:
    def __init__(
        self, library: Any, precision: str, scratch: Scratch, selection: Selection
    ) -> None:
        self.selection = selection
        self._library = library
        self._compute = COMPUTE_TYPES[precision]
        self._scratch = scratch
        self._plans = Plans()
        self._refused: set[str] = set()
        self._device = cupy.cuda.runtime.getDevice()
        self._workspace_bytes = workspace_bytes(self._device)
        handles(library, self._device)

    @property
    def reason(self) -> str:
        refused = "; ".join(sorted(self._refused))
        return f"cuBLASLt{f', which refused: {refused}' if refused else ''}"

    def restore(self, algorithms: Mapping[str, str]) -> None:
        self.selection.restore(algorithms)
        self._plans = Plans()

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        epilogue: int = PLAIN,
        vector: Array | None = None,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> bool:
        if not (a.size and b.size):
            return False
        # cuBLASLt is column-major, so it reads row-major matrices as their transposes, and computes
        # out' = b' a'. Its A is our b.
        matrices, transposed = (b, a, out, out), (transpose_b, transpose_a)
        address = 0 if vector is None else vector.data.ptr
        aligned = *(alignment(matrix.data.ptr) for matrix in matrices), alignment(address)
        problem = a.shape, b.shape, transposed, epilogue, self._compute, aligned
        plans = self._plans.by_problem
        workspace = self._scratch("cublas", self._workspace_bytes, np.uint8)
        try:
            if problem not in plans:
                plan = Plan(
                    self._library,
                    handles(self._library, self._device).pointer,
                    self._compute,
                    epilogue,
                    transposed,
                    matrices,
                    address,
                    self._workspace_bytes,
                )

                def run(algorithm: Algorithm) -> None:
                    plan.multiply(algorithm, matrices, address, workspace)

                plan.algorithm = self.selection.choose(json.dumps(problem), plan, run)
                plans[problem] = plan
            chosen = plans[problem]
            if isinstance(chosen, Plan):
                chosen.multiply(chosen.algorithm, matrices, address, workspace)
                return True
            why = chosen
        except RefusalError as refusal:
            why = plans[problem] = str(refusal)
        shapes = [x.shape[::-1] if t else x.shape for x, t in ((a, transpose_a), (b, transpose_b))]
        self._refused.add(f"{shapes[0]} times {shapes[1]} with {NAMES[epilogue]} ({why})")
        say_once(NAMES[epilogue], why)
        return False


@functools.cache
def say_once(epilogue: str, why: str) -> None:
    if why == INVALID:
        logger.warning(
            "gpunn: cuBLASLt reported an invalid argument for a matrix product with %s (%s). "
            "Training continues without this fused product; results may differ in rounding. "
            "Please report this. To train without cuBLASLt, set the backend options "
            "fused_products=False and matmul_algorithms='heuristic'",
            epilogue,
            why,
        )
    else:
        logger.info("gpunn: cuBLASLt can't compute a matrix product with %s: %s", epilogue, why)
