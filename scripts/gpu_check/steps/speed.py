"""Time the same training in every library.

Each variant of a library runs in a separate process, and only one trains at a time. For each
training, a cell, every process in turn trains for about a tenth of a second, and then all train the
next stretch. So all are timed at the same clocks, and an interrupted check has the same rows for
all. Rows, their order and initial weights are the same, so losses must be equal. If they are not, a
library's step is wrong and the check fails.

All data are on the device. Every epoch draws a permutation of the rows on the host, trains on whole
batches, and reads the epoch's loss. Three parts do not count: the first epoch, which compiles
kernels and allocates memory; the second, which determines the length of a stretch; and the first
stretch.
"""

import math
import statistics
from collections.abc import Iterable
from itertools import product

import device
import process
import training
from cell import Cell
from libraries import Library, LibraryError
from networks import TIMED
from process import FAILED, PASSED, STOPPED, Outcome, Row, SkipError, Step, printed_by

NETWORKS = ("784-512-512-10", "784-128-10", "784-2048-2048-10", "64-32-10")
NORMS, ENSEMBLE = "100-256x3-1, layer norm, GELU", "TabM-mini, 8 members, 3 x 192"
BATCHES = (128, 1024, 8192)
RULES = (
    *(("adam", "float32"), ("adam", "tf32"), ("sgd", "float32")),
    *(("adam", "bfloat16"), ("sgd", "tf32"), ("sgd", "bfloat16")),
)
"""Optimizers, and the precisions of products."""

VARIANTS = {
    "gpunn": ("with_gpunn", "graph"),
    "gpunn, measured products": ("with_gpunn", "measured"),
    "gpunn, one by one": ("with_gpunn", "eager"),
    "PyTorch, graph": ("with_torch", "graph"),
    "PyTorch, eager": ("with_torch", "eager"),
    "PyTorch, defaults (float32)": ("with_torch", "defaults"),
    "JAX, scan": ("with_jax", "scan"),
    "JAX, scan, defaults (TF32)": ("with_jax", "defaults"),
    "PyTorch, compiled, graph": ("with_torch", "compiled graph"),
    "PyTorch, compiled": ("with_torch", "compiled"),
}
"""Adapters and modes. "Defaults" are timed only next to float32."""

COMPILED = 2
"""`torch.compile` takes longer than the rest of a cell. So its variants are timed in only this many
cells, separately."""

STRETCH = 0.0 if device.REHEARSAL else 0.12
"""Seconds of a stretch."""
ROUNDS = 3 if device.REHEARSAL else 6
"""Stretches of a cell; the first is not timed."""
LONGEST = 200
"""Maximum number of epochs in a stretch."""

CLOCKS = "--query-gpu=clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw"

TARGET, MOST_EPOCHS = 0.98, 15
"""Target accuracy on MNIST's test rows in the first cell, and the maximum number of epochs."""

FEWEST_LEFT, COMPILING = 12.0, 60.0
"""Remaining seconds that a cell needs to start, and that a compiled cell needs."""

TOLERANCES = {"float32": 0.05, "tf32": 0.05, "bfloat16": 0.1}
"""Relative tolerance of the first epoch's mean loss, compared with gpunn's. Adam's first steps
amplify rounding: on a CPU, libraries differed by up to 0.3 % after 100 steps in float32."""


Turn = tuple[Cell, list[str]]
"""A cell, with the variants that are timed in it."""


def run(step: Step) -> Outcome:
    return time_all(step, first_turns())


def time_all(step: Step, turns: list[Turn]) -> Outcome:
    """Time as many cells as possible; fail if gpunn fails or losses differ."""
    if reason := process.exclusive():
        raise SkipError(reason)
    libraries: dict[str, Library] = {}
    skips: dict[str, str] = {}
    for name in dict.fromkeys(name for _, names in turns for name in names):
        if device.REHEARSAL and VARIANTS[name][0] != "with_gpunn":
            skips[name] = "a rehearsal: it can't use the emulated device"
        else:
            libraries[name] = Library(*VARIANTS[name])
    try:
        rows, untimed = timed(step, libraries, turns)
    finally:
        for library in libraries.values():
            library.end()
    skips |= {name: library.skip for name, library in libraries.items() if library.skip}
    print(table(rows))
    print("\n".join(f"not timed: {name}: {why}" for name, why in skips.items()))
    wrong = []
    for row in (row for row in rows if "error" in row):
        failure = f"{row['cell']}: {row['form']}: {row['error']}"
        print(f"failed: {failure}")
        wrong += [failure] if row["form"].startswith("gpunn") else []
    wrong += [
        f"{name}: {why}"
        for name, why in skips.items()
        if name.startswith("gpunn") and why.startswith("failed")
    ]
    wrong += different_losses(rows)
    if wrong or not rows:
        return FAILED, "; ".join(wrong[:3]) or "nothing was timed"
    cells, variants = ({row[key] for row in rows} for key in ("cell", "form"))
    known = len(variants | set(skips))
    result = f"{len(cells)} training runs timed, with {len(variants)} of {known} library variants"
    return (STOPPED, f"{result}; no time for {untimed} more") if untimed else (PASSED, result)


def first_turns() -> list[Turn]:
    """Return the most important cells: a dense network, one with norms, and an ensemble."""
    cells = [Cell(NETWORKS[0], 128, *RULES[0]), table_cell(NORMS), table_cell(ENSEMBLE)]
    if device.REHEARSAL:  # in two processes
        cells = [Cell("64-16-10", 16, *RULES[0]), table_cell(ENSEMBLE)]
        return [(cell, [each for each in variants(cell) if "meas" not in each]) for cell in cells]
    return [(cell, variants(cell)) for cell in cells]


def further_turns() -> list[Turn]:
    if device.REHEARSAL:  # two of them, in one process
        return [(table_cell(name), ["gpunn, measured products"]) for name in [*TIMED][1:3]]
    first = [cell for cell, _ in first_turns()]
    tables = [Cell(NETWORKS[0], 1024, *RULES[0]), *map(table_cell, TIMED)]
    compiled = [name for name in VARIANTS if "compiled" in name]
    grid = [Cell(sizes, batch, *rule) for rule, sizes, batch in product(RULES, NETWORKS, BATCHES)]
    return [
        *((cell, variants(cell)) for cell in tables if cell not in first),
        *((cell, compiled) for cell in first[:COMPILED]),
        *((cell, variants(cell)) for cell in grid if cell not in (*first, *tables)),
    ]


def table_cell(name: str) -> Cell:
    batch = 16 if device.REHEARSAL else 256
    return Cell(name, batch, "adamw" if name == ENSEMBLE else "adam", "float32")


def variants(cell: Cell) -> list[str]:
    names = [name for name in VARIANTS if "compiled" not in name]
    return [name for name in names if cell.precision == "float32" or "defaults" not in name]


def timed(
    step: Step, libraries: dict[str, Library], turns: list[tuple[Cell, list[str]]]
) -> tuple[list[Row], int]:
    rows, untimed = list(step.done), 0
    known = {(row["cell"], row["form"]) for row in rows}
    for library in libraries.values():
        library.introduce()
    for number, (cell, names) in enumerate(turns):
        wanted = [name for name in names if (cell.name, name) not in known]
        compiled = any("compiled" in name for name in wanted)
        if wanted and step.seconds_left() < (COMPILING if compiled else FEWEST_LEFT):
            untimed += 1
            continue
        able = {name: libraries[name] for name in wanted if name in libraries}
        able = {name: library for name, library in able.items() if not library.skip}
        for row in timed_cell(able, cell, to_target=number == 0 and training.mnist() is not None):
            rows.append(row)
            step.add(row)
    return rows, untimed


def timed_cell(libraries: dict[str, Library], cell: Cell, to_target: bool) -> Iterable[Row]:
    """Train in all libraries, and return a row for each, with an "error" if it failed."""
    stretches: dict[str, list[Row]] = {name: [] for name in libraries}
    errors: dict[str, str] = {}

    def ask(name: str, epochs: int, accuracy: bool = False) -> None:
        if name in errors:
            return
        try:
            answer = libraries[name].ask(epochs, accuracy)
        except LibraryError as error:
            errors[name] = str(error)
        else:
            if epochs:
                stretches[name].append(answer | {"epochs": epochs})

    for name, library in libraries.items():
        library.tell(cell)
        ask(name, 1, to_target)
        while to_target and name not in errors and short_of_target(stretches[name]):
            ask(name, 1, True)
        ask(name, 1)
    epochs = {
        name: min(max(round(STRETCH / stretches[name][-1]["seconds"]), 1), LONGEST)
        for name in libraries
        if name not in errors
    }
    for _ in range(ROUNDS):
        for name, number in epochs.items():
            ask(name, number)
    clocks = printed_by("nvidia-smi", CLOCKS, "--format=csv")
    for name in libraries:
        ask(name, 0)
    steps = training.ROWS // cell.batch
    for name, library in libraries.items():
        times = {"error": errors[name]} if name in errors else measured(stretches[name], steps)
        settings = {"cell": cell.name, "form": name, "library": library.name, **cell._asdict()}
        yield {**settings, **times, "clocks": clocks}


def short_of_target(stretches: list[Row]) -> bool:
    return len(stretches) < MOST_EPOCHS and bool(stretches[-1]["accuracy"] < TARGET)


def measured(stretches: list[Row], steps: int) -> Row:
    done = stretches[1 - ROUNDS :]

    def per_step(clock: str) -> list[float]:
        timed = [each for each in done if each[clock] is not None]
        return [1e6 * each[clock] / (each["epochs"] * steps) for each in timed]

    host, on_device = per_step("seconds"), per_step("device_seconds")
    accuracies = [each["accuracy"] for each in stretches if "accuracy" in each]
    reached = next((n for n, each in enumerate(accuracies, 1) if each >= TARGET), None)
    epoch = statistics.median(host) * steps / 1e6
    return {
        "microseconds a step": statistics.median(host),
        "device microseconds a step": statistics.median(on_device) if on_device else None,
        "all microseconds": host,
        "steps of a stretch": done[-1]["epochs"] * steps,
        "first loss": stretches[0]["losses"][0],
        "last loss": done[-1]["losses"][-1],
        "accuracies": accuracies,
        "epochs to target": reached,
        "seconds to target": None if reached is None else reached * epoch,
    }


def different_losses(rows: list[Row]) -> list[str]:
    """Return rows whose first loss differs from gpunn's, or whose last loss is not finite."""
    good = [row for row in rows if "error" not in row]
    reference = {row["cell"]: row["first loss"] for row in good if row["form"] == "gpunn"}
    wrong = []
    for row in good:
        loss, expected = row["first loss"], reference.get(row["cell"], row["first loss"])
        # Not `difference > tolerance`, so that NaN is wrong.
        if not abs(loss - expected) <= TOLERANCES[row["precision"]] * abs(expected):
            problem = f"has a loss of {loss:.4f}, not {expected:.4f}"
        elif not math.isfinite(row["last loss"]):
            problem = "ends with a loss that is not finite"
        else:
            continue
        wrong.append(f"{row['cell']}: {row['form']} {problem}")
    return wrong


def table(rows: list[Row]) -> str:
    variants = list(dict.fromkeys(row["form"] for row in rows))
    by = {(row["cell"], row["form"]): row for row in rows}
    lines = [
        [cell, *(shown(by.get((cell, form))) for form in variants)]
        for cell in dict.fromkeys(row["cell"] for row in rows)
    ]
    targets = (
        f"{row['form']}: {TARGET:.0%} of MNIST's test rows after {row['epochs to target']} epochs, "
        f"{row['seconds to target']:.2f} s without compilation ({row['cell']})"
        for row in rows
        if row.get("seconds to target") is not None
    )
    clocks = dict.fromkeys(rows[index]["clocks"] for index in (0, -1) if rows)
    data = "MNIST" if training.mnist() else "synthetic"
    head = f"microseconds a step, the host's / the device's; data: {data}"
    return "\n".join([head, training.table(["training", *variants], lines), *targets, *clocks])


def shown(row: Row | None) -> str:
    if row is None or "error" in row:
        return "" if row is None else "failed"
    on_device = row["device microseconds a step"]
    return f"{row['microseconds a step']:.1f} / {'-' if on_device is None else f'{on_device:.1f}'}"
