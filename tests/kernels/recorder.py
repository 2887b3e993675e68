"""Run the CuPy backend on emulated devices, and record its sources and launches.

`python -m kernels.recorder FOLDER DTYPE LAYOUT...` writes `recording.json` and `memory.bin` to the
folder. It is a separate process because the emulator applies to a whole process. It records

* every CUDA source of single operations on arrays of this type and these layouts, and of whole
  training runs with this type;
* for each run of an operation, its launches in order, their arguments, the earlier content of the
  memory that they access, in blocks of exactly the allocated size, and the results of products.

`replay` runs such launches again, and `cubins` compiles the sources.
"""

import ctypes
import gc
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import emulated_cuda
import numpy as np
from emulated_cuda import blas, blas_lt, cupy_private
from emulated_cuda import kernels as emulated
from kernels.cases import INSERTED, few_cases, small_cases
from kernels.replay import SITE
from parity import operations

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers
from gpunn.backends import get_backend
from gpunn.backends.recording import record
from gpunn.data import batches
from gpunn.metrics.confusion import CountMetric


class Recorder:
    def __init__(self, folder: Path):
        self.sources: dict[emulated.Source, int] = {}
        self.memory = sys.modules["emulated_cuda.install"]._installed.memory
        self.blob = (folder / "memory.bin").open("wb")
        self.launches: list[dict[str, Any]] | None = None
        self.products: list[dict[str, int]] = []
        self.buffers: dict[int, dict[str, Any]] = {}
        self.regions: dict[int, Any] = {}
        self.reused = False

    def source_of(self, library: str) -> int:
        for source, path in emulated._sources.items():
            if path == library:
                return self.sources.setdefault(source, len(self.sources))
        raise LookupError(library)

    def save(self, data: bytes) -> int:
        self.blob.write(data)
        return self.blob.tell() - len(data)

    def locate(self, address: int) -> tuple[int, int]:
        region = self.memory.check(address, 1, None, "recorder")
        if region.address not in self.buffers:
            content = self.save(ctypes.string_at(region.address, region.size))
            number = len(self.buffers)
            self.regions[region.address] = region
            self.buffers[region.address] = {"id": number, "size": region.size, "content": content}
        self.reused |= self.regions[region.address] is not region
        return self.buffers[region.address]["id"], address - region.address

    def launch(
        self, kernel: Any, arguments: list[bytes], grid: Any, block: Any, shared: int
    ) -> None:
        passed = []
        for parameter, raw in zip(kernel.parameters, arguments, strict=True):
            argument: dict[str, Any] = {"bytes": raw.hex()}
            region = parameter.region(raw)
            if region is not None:
                address = int.from_bytes(raw[:8], "little")
                argument["buffer"], argument["offset"] = self.locate(address)
            passed.append(argument)
        self.launches.append(
            {
                "kernel": kernel.name,
                "source": self.source_of(kernel.library),
                "grid": list(grid),
                "block": list(block),
                "shared": shared,
                "arguments": passed,
            }
        )

    def product(self, result: blas.Matrix, after: int) -> None:
        """Store the memory of a product's result, which ends `after` bytes after one matrix."""
        size = result.bytes + after
        buffer, offset = self.locate(result.address)
        content = self.save(ctypes.string_at(result.address, size))
        written = {"buffer": buffer, "offset": offset, "size": size, "content": content}
        self.products.append({"launches": len(self.launches), **written})

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.products = []
        self.launches, self.buffers, self.regions, self.reused = [], {}, {}, False
        try:
            yield
        finally:
            self.finished, self.launches = self.launches, None


def watch(recorder: Recorder) -> None:
    """Pass every launch on the emulated devices to the recorder."""
    initialize, run = emulated.Kernel.__init__, emulated.Kernel.run

    def remember_library(self, library, *rest):
        initialize(self, library, *rest)
        self.library = library._name

    def run_and_record(self, *arguments):
        if recorder.launches is not None:
            recorder.launch(self, *arguments)
        run(self, *arguments)

    def recorded(product):
        def run(runtime, g):
            status = product(runtime, g)
            if status == 0 and recorder.launches is not None:
                at, step = (g.d, g.ldd) if hasattr(g, "d") else (g.c, g.ldc)
                dtype = blas.DTYPES[getattr(g, "type_c", 0)]
                batches = (getattr(g, "count", 1) - 1) * getattr(g, "stride_c", 0)
                result = blas.Matrix("C", at, dtype, (g.m, g.n), step)
                recorder.product(result, batches * dtype.itemsize)
            return status

        return run

    blas._gemm, blas_lt._matmul = recorded(blas._gemm), recorded(blas_lt._matmul)
    emulated.Kernel.__init__ = remember_library
    emulated.Kernel.run = run_and_record


def describe(array: Any, recorder: Recorder) -> dict[str, Any]:
    """Return an array's buffer and offset, without these if no kernel accessed its memory."""
    described: dict[str, Any] = {
        "shape": list(array.shape),
        "strides": list(array.strides),
        "dtype": array.dtype.name,
    }
    if array.size:
        region = recorder.memory.check(array.data.ptr, 1, None, "recorder")
        buffer = recorder.buffers.get(region.address)
        if buffer is not None:
            described |= {"buffer": buffer["id"], "offset": array.data.ptr - region.address}
    return described


def record_operations(
    recorder: Recorder, backend: Any, dtype: str, layouts: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Run cases in these layouts; yield those that launch kernels of the project."""
    for case in small_cases() if len(layouts) > 1 else few_cases():
        host = operations.inputs(case, dtype)
        for layout in layouts:
            placed = operations.to_backend(backend, host, dtype, layout)
            arguments = operations.resolved(backend, dtype, placed)
            trace = record(partial(getattr(backend, case.operation), **arguments), backend)
            run = backend.lower(trace)  # this may copy data to the device, once for all steps
            with emulated_cuda.counters() as counts, recorder.recording():
                run(1)
            names = {launch["kernel"] for launch in recorder.finished}
            if not any(name.startswith("gpunn_") for name in names):
                continue
            yield {
                "case": case.name,
                "operation": case.operation,
                "dtype": dtype,
                "layout": layout,
                # No memory was allocated twice, since only its first content is stored.
                "replayable": not (counts.copies or recorder.reused),
                "launches": recorder.finished,
                "products": recorder.products,
                "buffers": list(recorder.buffers.values()),
                "arrays": {
                    name: describe(array, recorder) for name, array in operations.flatten(placed)
                },
            }


ROWS, FEATURES, CLASSES = 45, 6, 3
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.02, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.003, decay_all=True, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(0.01, max_norm=0.5),
    "adamw": lambda: optimizers.AdamW(0.01, l2_penalty=0.1, epsilon_hat=True),
    "lion": lambda: optimizers.Lion(0.001),
    "adagrad": lambda: optimizers.Adagrad(0.01),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01),
    "nadam": lambda: optimizers.NAdam(0.01),
    "radam": lambda: optimizers.RAdam(0.01),
    "adabelief": lambda: optimizers.AdaBelief(0.01, max_norm=0.5),
}


ALIKE = ("adagrad", "adadelta", "adamax", "nadam", "radam", "adabelief")
"""Optimizers whose kernels differ only in the rule; with a loss scale, only one is recorded."""


def every_layer(activation: str, outputs: int) -> list[Any]:
    return [
        layers.Flatten(),
        layers.Standardization(),
        layers.Dense(16, activation),
        layers.BatchNorm(),
        layers.Activation(activation),
        layers.Rescaling(1.5, 0.1),
        layers.Dropout(0.3),
        layers.Dense(8, activation, bias=False),
        layers.LayerNorm(),
        layers.Activation(activation),
        layers.LayerNorm(),
        layers.Dense(outputs),
    ]


def train(
    dtype: str,
    *,
    activation: str = "relu",
    loss: str = "softmax_cross_entropy",
    optimizer: str = "adam",
    graph: bool = True,
    scaled: bool = False,
    fused_products: bool = True,
    measured: bool = False,
    **more: Any,
) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(ROWS, FEATURES))
    labels = random.integers(0, CLASSES, ROWS)
    of_labels = loss == "softmax_cross_entropy"
    targets = labels if of_labels else np.eye(CLASSES)[labels] + (loss == "gamma")  # above 0
    outputs = 2 * CLASSES if loss == "gaussian_nll" else CLASSES
    if loss == "quantiles":  # each has an output for the only target
        targets = targets[:, :1]
    chosen = [
        m("macro") if issubclass(m, CountMetric) else m(16) if m is metrics.AUC else m()
        for m in operations.builtin(metrics.Metric)
        if measured and of_labels == issubclass(m, metrics.ClassMetric)
    ]
    backend = get_backend("cupy:0", graph=graph, fused_products=fused_products)
    if scaled:
        backend = get_backend("cupy:0", graph=graph, matmul_precision="float16")
        backend.needs_loss_scale = lambda dtype: True  # also in float64, so that both are built
    network = every_layer(activation, outputs)
    model = gpunn.Sequential(network, FEATURES, backend, seed=4, dtype=dtype)
    trainer = gpunn.Trainer(model, loss, OPTIMIZERS[optimizer](), chosen, log_every=3)
    options = {"epochs": 1, "batch_size": 8, "validation_split": 0.2, "progress": False, **more}
    trainer.fit(inputs, targets, **options)
    model.predict(inputs)
    trainer.evaluate(inputs, targets)


def train_on_pixels(dtype: str, graph: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 2), np.uint8)
    parts = [layers.Flatten(), layers.Rescaling(), layers.Dense(2)]
    model = gpunn.Sequential(parts, (3, 2), get_backend("cupy:0", graph=graph), dtype=dtype)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam", gradient_accumulation=2)
    trainer.fit(images, np.arange(30) % 2, epochs=1, batch_size=4, progress=False)


def train_with_factors(dtype: str) -> None:
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(ROWS, FEATURES)), random.integers(0, CLASSES, ROWS)
    for loss, targets, last in (
        (losses.SoftmaxCrossEntropy("cosine"), labels, []),
        ("mean_squared_error", inputs[:, :CLASSES], [layers.TargetScaling()]),
    ):
        parts = [
            layers.Dense(16, "selu", learning_rate_factor=6.0),
            layers.Dropout("cosine"),
            layers.Dense(CLASSES),
            *last,
        ]
        backend = get_backend("cupy:0")
        model = gpunn.Sequential(parts, FEATURES, backend, seed=4, dtype=dtype)
        optimizer = optimizers.Adam(0.01, weight_decay="cosine")
        trainer = gpunn.Trainer(model, loss, optimizer)
        trainer.fit(inputs, targets, epochs=1, batch_size=8, progress=False)
        model.predict(inputs)


def train_on_images(dtype: str) -> None:
    parts = [
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPool2D(2, 1),
        layers.Conv2D(4, 2, groups=4),
        layers.Conv2D(4, 2, groups=4, bias=False),
        layers.AveragePool2D(2),
        layers.Conv2D(4, 2, padding="same"),
        layers.UpSampling2D(),
        layers.SpatialDropout(0.3),
        layers.Flatten(),
        layers.Dense(CLASSES),
    ]
    model = gpunn.Sequential(parts, (7, 7, 2), get_backend("cupy:0"), seed=4, dtype=dtype)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", OPTIMIZERS["adam"]())
    images = np.random.default_rng(0).normal(size=(ROWS, 7, 7, 2))
    trainer.fit(images, np.arange(ROWS) % CLASSES, epochs=1, batch_size=8, progress=False)


def train_members(dtype: str) -> None:
    parts = [
        layers.Members(2),
        *(layers.MemberDense(5, "relu"), layers.Dropout(0.3)),
        *(layers.MemberDense(4, "relu"), layers.Dropout("cosine"), layers.MemberDense(4, "relu")),
        *(layers.MemberDense(4, "relu", adapters=False), layers.Dropout(0.3)),
        *(layers.MemberDense(CLASSES, separate=True), layers.MeanOverMembers("softmax")),
    ]
    model = gpunn.Sequential(parts, FEATURES, get_backend("cupy:0"), seed=4, dtype=dtype)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", OPTIMIZERS["adam"]())
    inputs = np.random.default_rng(0).normal(size=(ROWS, FEATURES))
    trainer.fit(inputs, np.arange(ROWS) % CLASSES, epochs=1, batch_size=8, progress=False)


def training_runs(dtype: str, functions: Sequence[str]) -> None:
    """Train with these activations, every layer, loss, metric and optimizer, and each feeding."""
    batches.STREAM_BYTES = 600
    weights = np.linspace(0, 1, ROWS)
    measures = [cls.name for cls in operations.builtin(losses.Loss)]
    longest = max(len(functions), len(measures), len(OPTIMIZERS))
    # Each class has separate kernels, so a run may use one of each kind.
    chosen = zip(*map(itertools.cycle, (functions, measures, OPTIMIZERS)), strict=False)
    for activation, loss, optimizer in itertools.islice(chosen, longest):
        train(dtype, activation=activation, loss=loss, optimizer=optimizer)
    for optimizer in OPTIMIZERS:
        if optimizer not in ALIKE[1:]:
            train(dtype, optimizer=optimizer, scaled=True)
    train(dtype, measured=True)
    train(dtype, measured=True, loss="mean_squared_error")
    train_with_factors(dtype)
    train_members(dtype)
    train_on_images(dtype)
    train(dtype, graph=False)
    train(dtype, fused_products=False)
    train(dtype, sample_weight=weights)
    train(dtype, class_weight="balanced", shuffle=False)
    train(dtype, stream=True, sample_weight=weights)
    train_on_pixels(dtype, graph=True)
    train_on_pixels(dtype, graph=False)


def tables() -> dict[str, list[str]]:
    from gpunn.backends.cupy import kernels

    printed = {*operations.builtin(metrics.Metric)} - {*kernels.metrics.METRICS}
    return {
        "FORMULAS": sorted(cls.name for cls in operations.builtin(activations.Activation)),
        "LOSSES": sorted(cls.name for cls in operations.builtin(losses.Loss)),
        "METRICS": sorted(cls.name for cls in printed),
        "RULES": sorted({make().name for make in OPTIMIZERS.values()}),
    }


def main(folder: Path, dtype: str, *layouts: str) -> None:
    emulated_cuda.install(devices=1)
    gc.freeze()  # since each capture collects garbage
    recorder = Recorder(folder)
    watch(recorder)
    formulas = [cls.name for cls in operations.builtin(activations.Activation)]
    training_runs(dtype, formulas if len(layouts) > 1 else INSERTED["activate"])
    trained = list(emulated.sources())
    recorder.sources.update({source: number for number, source in enumerate(trained)})
    recorded = list(record_operations(recorder, get_backend("cupy:0", graph=False), dtype, layouts))
    recorder.blob.close()
    sources = [
        {
            "text": source.text,
            "options": list(source.options),
            "names": list(source.name_expressions),
            "kernels": emulated._kernel_names(emulated.COMMENTS.sub(" ", source.text)),
            "trained": number < len(trained),
        }
        for source, number in recorder.sources.items()
    ]
    result = {
        "headers": cupy_private.header_folder(),
        "sources": sources,
        "operations": recorded,
        "tables": tables(),
    }
    site = str(cupy_private.site_folder())
    (folder / "recording.json").write_text(json.dumps(result).replace(site, SITE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
