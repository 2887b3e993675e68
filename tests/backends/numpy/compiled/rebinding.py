"""Replace the arrays of each kernel by others, and make the memory of the first ones inaccessible.

A kernel that still uses this memory ends this process by a signal. The last line of the output is
the case that failed, or a list of the kernels whose arrays were replaced.
"""

import ctypes
import json
import mmap
from itertools import chain

import numpy as np
from kernels.cases import small_cases
from parity.operations import PRODUCTS, case, flatten, inputs, passes, resolved, to_backend

from gpunn import activations, optimizers
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.operations import Segment, Trained
from gpunn.metrics.labels import LabelsAUC


class Mapped(CompiledBackend):
    """Puts each array into a memory map of its own, and has operations that become one kernel."""

    def from_host(self, array, dtype):
        mapped = np.ndarray(array.shape, dtype, mmap.mmap(-1, array.nbytes + 1))
        mapped[...] = array
        return mapped

    def batch_norm_and_relu(self, activated, **arguments):
        self.batch_norm(**arguments)
        self.activate(activations.ReLU(), arguments["out"], None, activated)

    def gradient_and_update(self, x, gradient, trained, **arguments):
        self.matmul(x, gradient, trained.gradients.reshape(3, 4), transpose_a=True)
        self.update(optimizers.SGD(), trained, **arguments)


BACKEND = Mapped(threads=1)


def cases():
    """Yield a case for each two first parts of a name, and cases that other tests don't need."""
    every = chain(small_cases(), *(make() for make in PRODUCTS))
    yield from {"-".join(each.name.split("-")[:2]): each for each in every}.values()
    yield from passes("dense", activations.Identity(), (6, 5), (5, 1), bias=True)
    yield case(
        "auc-of-labels",
        "metric",
        metric=LabelsAUC(4),
        predictions=(7, 3),
        targets=lambda g: g.integers(0, 2, (7, 3)).astype(float),
        weights=np.ones(7),
        summary=np.zeros(2 * 3 * 4**2),
    )
    averages = dict.fromkeys(("scale", "shift", "running_mean", "running_variance"), (3,))
    results = {"mean": (3,), "inverse_std": (3,), "out": (8, 3), "activated": (8, 3)}
    yield case(
        "batch_norm_and_relu",
        "batch_norm_and_relu",
        **{"x": (8, 3), **averages, **results, "momentum": 0.9, "epsilon": 1e-5},
    )
    yield case(
        "gradient_and_update",
        "gradient_and_update",
        x=(6, 3),
        gradient=(6, 4),
        trained=Trained(np.ones(12), np.zeros(12), {}, [Segment(0, 12)]),
        learning_rate=np.array([0.1]),
        step=np.array([1]),
    )


def inaccessible(array):
    """Let each use of an array's memory end this process by a signal."""
    memory = array.base
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    length, none = ctypes.c_size_t(len(memory)), 0
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), length, none) == 0


def placed(each):
    arguments = to_backend(BACKEND, inputs(each, "float32"), "float32", "contiguous")
    return arguments, dict(flatten(arguments))


def recorded(each, arguments):
    arguments = resolved(BACKEND, "float32", arguments)
    program = BACKEND.recorded(lambda: getattr(BACKEND, each.operation)(**arguments))
    times = 1 + (each.operation in vars(Mapped))  # the first run may differ from the final one
    return BACKEND.sequence([(program, times)])


def check(each):
    """Replace the arrays of a case; return the kernels for which this was possible."""
    arguments, first = placed(each)
    sequence = recorded(each, arguments)
    if sequence is None:
        return set()
    arguments, expected = placed(each)
    direct = recorded(each, arguments)
    _, other = placed(each)
    direct(1)
    (program,) = sequence._programs
    instructions, table = program._kept, program._steps[0].rows
    names = [name for name, array in first.items() if program.cells([array])]
    before = table.copy()
    sequence.replacer([first[name] for name in names])([other[name] for name in names])
    changed = (table != before).any(axis=1)
    kernels = {one.kernel for one, each in zip(instructions, changed, strict=True) if each}
    print(each.name, *names, *kernels, flush=True)
    for name in names:
        inaccessible(first[name])
    sequence(1)
    after = first | {name: other[name] for name in names}
    for name, array in expected.items():
        np.testing.assert_array_equal(after[name], array, f"{each.name}, {name}", strict=True)
    return kernels


if __name__ == "__main__":
    print(json.dumps(sorted(set().union(*map(check, cases())))))
