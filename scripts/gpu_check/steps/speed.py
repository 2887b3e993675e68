"""Timing a training, the same one in every library.

Every library is a process of its own (`speed_form.py`), and all train at once, but only one at a
time: of each training, or cell, every library does a stretch of some tenth of a second, one after
the other, and then all of them the next stretch. So they are timed at the same clocks, and what is
cut off has the same rows of all. Rows, their order and initial weights are the same, and so are the
losses then: if not, somebody's step is broken, which is a failure.

The work: all data on the device, a new permutation of the rows every epoch drawn on the host, whole
batches, the epoch's loss read back at its end. Of each stretch two times are taken: the host's, and
the device's between the first step of each epoch and its last. The first epoch, in which kernels
are compiled and memory is allocated, a second one that tells how long the stretches are to be, and
the first of these are left out.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from typing import Any

import device
import rows
from outcome import Outcome
from steps import cells, speed_results, work
from steps.cells import Cell
from steps.forms import FORMS, Form, FormError
from steps.speed_results import TARGET

COMPILED, AFTER = 2, 6
"""`torch.compile` takes longer than everything else of a cell. So its forms are timed in few of the
first cells, and by themselves, after a few more cells are done."""

STRETCH = 0.12
"""Seconds."""
ROUNDS = 6
"""Stretches of a cell, the first of which is not timed."""
LONGEST = 200
"""Epochs of a stretch."""

MOST_EPOCHS = 15
"""On the way to the target accuracy."""

FEWEST_LEFT, COMPILING = 20.0, 60.0
"""Seconds of the step's time without which no cell is begun, and none that is compiled."""

if device.REHEARSAL:
    STRETCH, ROUNDS = 0.0, 3


def run(extent: str) -> Outcome:
    """Time all that there is time for; `extent` is "quick" or "whole"."""
    turns = in_turn(extent == "whole")
    names = dict.fromkeys(name for _, taking_part in turns for name in taking_part)
    forms = {name: Form(name) for name in names}
    try:
        for form in forms.values():
            form.begin()
        found, untimed = timed(forms, turns)
    finally:
        for form in forms.values():
            form.end()
    skips = {name: form.skip for name, form in forms.items()}
    return speed_results.outcome_of(found, untimed, skips)


Turn = tuple[Cell, list[str]]
"""A cell, and the forms that are timed side by side in it."""


def in_turn(whole: bool) -> list[Turn]:
    """Return the cells in the order in which they are timed."""
    compiled = [name for name in FORMS if "compiled" in name]
    wanted = cells.in_order(whole)
    turns = [(cell, [name for name in FORMS if name not in compiled]) for cell in wanted]
    if whole:
        turns[AFTER:AFTER] = [(cell, compiled) for cell in wanted[:COMPILED]]
    return turns


def timed(forms: dict[str, Form], turns: list[Turn]) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of all turns that there was time for, and how many there was none for."""
    found = [row for row in rows.done() if "error" not in row]
    known = {(row["cell"], row["form"]) for row in found}
    for form in forms.values():
        form.introduce()
    untimed = 0
    for number, (cell, names) in enumerate(turns):
        wanted = [name for name in names if (cell.name, name) not in known]
        compiled = any("compiled" in name for name in wanted)
        if wanted and rows.seconds_left() < (COMPILING if compiled else FEWEST_LEFT):
            untimed += 1
            continue
        taking_part = [forms[name] for name in wanted if not forms[name].skip]
        for row in timed_cell(taking_part, cell, number == 0):
            found.append(row)
            rows.add(row)
    return found, untimed


def timed_cell(forms: list[Form], cell: Cell, first: bool) -> list[dict[str, Any]]:
    """Return one row for each form."""
    drawn = {form.name: Drawn() for form in forms}

    def stretch(form: Form, epochs: int, accuracy: bool = False) -> None:
        row = drawn[form.name]
        if row.error:
            return
        try:
            row.stretches.append(form.ask(epochs=epochs, accuracy=accuracy) | {"epochs": epochs})
        except FormError as error:
            row.error = str(error)

    for form in forms:
        form.introduce()
        try:
            form.tell(cell=cell.figures())
        except FormError as error:
            drawn[form.name].error = str(error)
        stretch(form, 1, accuracy=first)
        if first and work.mnist() is not None:
            while drawn[form.name].short_of(TARGET):
                stretch(form, 1, accuracy=True)
        stretch(form, 1)
    for row in drawn.values():
        row.calibrate()
    clocks = None
    for turn in range(ROUNDS):
        for form in forms:
            if turn == 1 and clocks is None:
                clocks = asked_clocks()
            stretch(form, drawn[form.name].epochs)
    seen = said_clocks(clocks)
    for form in forms:
        try:
            if not drawn[form.name].error:
                form.ask(epochs=0)
        except FormError as error:
            drawn[form.name].error = str(error)
    steps = len(work.whole_batches(cell)[0]) // cell.batch
    return [
        {
            "cell": cell.name,
            "form": form.name,
            "library": form.library,
            **cell.figures(),
            **drawn[form.name].figures(steps),
            "clocks": seen,
        }
        for form in forms
    ]


@dataclass
class Drawn:
    """What a form has said of a cell.

    Attributes
    ----------
    stretches : list of dict
        All so far.
    epochs : int
        Of each of the later ones.
    error : str
        What went wrong, or "".
    """

    stretches: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 1
    error: str = ""

    def short_of(self, target: float) -> bool:
        """Return whether there is a point in another epoch on the way to the target."""
        if self.error or len(self.stretches) >= MOST_EPOCHS:
            return False
        return bool(self.stretches[-1]["accuracy"] < target)

    def calibrate(self) -> None:
        """Choose the length of the stretches."""
        if not self.error:
            seconds = self.stretches[-1]["seconds"]
            self.epochs = min(max(round(STRETCH / seconds), 1), LONGEST)

    def figures(self, steps: int) -> dict[str, Any]:
        """Return what was found, `steps` being those of an epoch."""
        if self.error:
            return {"error": self.error}
        done = self.stretches[1 - ROUNDS :]

        def per_step(name: str) -> list[float]:
            given = [each for each in done if each[name] is not None]
            return [1e6 * each[name] / (each["epochs"] * steps) for each in given]

        host, on_device = per_step("seconds"), per_step("device_seconds")
        accuracies = [each["accuracy"] for each in self.stretches if each["accuracy"] is not None]
        reached = next((n for n, each in enumerate(accuracies, 1) if each >= TARGET), None)
        epoch = statistics.median(host) * steps / 1e6
        return {
            "microseconds a step": statistics.median(host),
            "device microseconds a step": statistics.median(on_device) if on_device else None,
            "all microseconds": host,
            "all device microseconds": on_device,
            "steps of a stretch": self.epochs * steps,
            "first losses": self.stretches[0]["losses"],
            "last losses": done[-1]["losses"][-1:],
            "accuracies": accuracies,
            "epochs to target": reached,
            "seconds to target": None if reached is None else reached * epoch,
            "peak bytes": self.stretches[-1]["peak_bytes"],
        }


QUERY = "clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw"


def asked_clocks() -> Any:
    """Have nvidia-smi look at the clocks while something is being timed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    return subprocess.Popen(
        [program, f"--query-gpu={QUERY}", "--format=csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def said_clocks(asked: Any) -> str:
    """Return what nvidia-smi saw."""
    if asked is None:
        return "not known: nvidia-smi is not on PATH"
    try:
        printed, _ = asked.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        asked.kill()
        return "not known: nvidia-smi gave no answer"
    return str(printed).strip()
