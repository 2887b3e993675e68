"""PyTorch's data-parallel training on a CPU (gloo), for the comparison of scripts/scaling.py."""

import socket
import statistics
import time
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn.distributed.agreement import Agreement

__all__ = ["DataParallel"]


class DataParallel:
    def __init__(self, agreement: Agreement, units: list[int], threads: int) -> None:
        import torch
        from torch import distributed

        self._torch, self._units, self._agreement = torch, units, agreement
        torch.set_num_threads(threads)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = agreement.of_first(free.getsockname()[1], "a port")
        distributed.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{port}",
            rank=agreement.rank,
            world_size=agreement.size,
        )

    def seconds(self, batch: int, seconds: float, *, together: bool) -> float:
        """Return the seconds of an update of `batch` rows, of all ranks or of this rank only."""
        torch = self._torch
        layers: list[Any] = []
        for inputs, outputs in pairwise(self._units):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        model: Any = torch.nn.Sequential(*layers[:-1])
        ranks = self._agreement.size if together else 1
        if together:
            model = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        random = np.random.default_rng(0)
        rows = batch // ranks
        X = torch.as_tensor(random.normal(size=(rows, self._units[0])).astype(np.float32))
        y = torch.as_tensor(random.integers(0, self._units[-1], rows))

        def step() -> float:
            began = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X), y).backward()
            optimizer.step()
            return time.perf_counter() - began

        for _ in range(5):
            step()
        times = max(10, round(seconds / step()))
        if together:
            times = self._agreement.of_first(times, "repetitions")
        return statistics.median(step() for _ in range(times))

    def close(self) -> None:
        self._torch.distributed.destroy_process_group()
