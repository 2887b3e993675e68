"""One step of a network's training, for a profiler: step_alone.py NETWORK."""

import sys

import device

device.prepare()

import cupy  # noqa: E402
import step_cost  # noqa: E402
from networks import INSPECTED  # noqa: E402

from gpunn.backends import get_backend  # noqa: E402

BATCH = 256


def once(name):
    """Run one step, as one CUDA graph, for the profiler; return the number of its operations."""
    network = INSPECTED[name](2 * BATCH)
    backend = get_backend("cupy")
    trainer = network.trainer(backend)

    def fit():
        trainer.fit(network.X, network.y, epochs=1, batch_size=BATCH, progress=False)

    calls = step_cost.calls_of_an_update(backend, fit)
    repeat = backend.lower([call.operation for call in calls])
    for profiled in (False, False, True):  # the first compiles, and the second records
        for call in calls:
            call.rewind(backend)
        cupy.cuda.runtime.deviceSynchronize()
        if profiled:
            cupy.cuda.runtime.profilerStart()
        repeat(1)
        cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.profilerStop()
    return len(calls)


if __name__ == "__main__":
    once(sys.argv[1])
