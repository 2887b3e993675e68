"""What was timed, as an outcome: whether all did the same work, and a table."""

from __future__ import annotations

import math
from typing import Any

import report
from outcome import FAILED, PASSED, STOPPED, Outcome
from steps import work

TOLERANCES = {"float32": 0.05, "tf32": 0.05, "bfloat16": 0.1}
"""How far the first epoch's mean loss may be from gpunn's, relative to it. Adam's first steps make
much of roundings: on a CPU, 100 steps in float32 were apart by up to 0.3 % between libraries."""

TARGET = 0.98
"""Accuracy on MNIST's test rows to count epochs to, in the first cell."""


def outcome_of(found: list[dict[str, Any]], untimed: int, skips: dict[str, str]) -> Outcome:
    """Return what was found; it fails if gpunn did, or if losses differ.

    With cells that there was no time for it was stopped, so that `--resume` times these.
    """
    wrong = [
        f"{row['cell']}: {row['form']}: {row['error']}"
        for row in found
        if row["form"].startswith("gpunn") and "error" in row
    ]
    wrong += [
        f"{form}: {skip}"
        for form, skip in skips.items()
        if form.startswith("gpunn") and skip.startswith("failed")
    ]
    wrong += different_losses(found)
    skipped = [f"{name}: {why}" for name, why in skips.items() if why]
    others = [
        f"{row['form']}: {row['error']} ({row['cell']})"
        for row in found
        if not row["form"].startswith("gpunn") and "error" in row
    ]
    names = dict.fromkeys(row["cell"] for row in found)
    figures = {"skipped": skips, "cells without time": untimed}
    text = table(found)
    notes = [*(f"not timed: {each}" for each in skipped), *(f"failed: {each}" for each in others)]
    text = "\n".join([text, *notes])
    said = f"{len(names)} trainings timed, in {len(skips) - len(skipped)} of {len(skips)} forms"
    if untimed:
        said += f"; no time for {untimed} more"
    if wrong or not names:
        return Outcome(FAILED, "; ".join(wrong[:3]) or "nothing was timed", figures, text)
    return Outcome(STOPPED if untimed else PASSED, said, figures, text)


def different_losses(found: list[dict[str, Any]]) -> list[str]:
    """Return whose first losses are not those of gpunn."""
    own = {row["cell"]: row for row in found if row["form"] == "gpunn" and "error" not in row}
    wrong = []
    for row in found:
        if "error" in row:
            continue
        loss = row["first losses"][0]
        expected = own.get(row["cell"], row)["first losses"][0]
        # Not `difference > tolerance`: a NaN must be wrong.
        if not abs(loss - expected) <= TOLERANCES[row["precision"]] * abs(expected):
            wrong.append(
                f"{row['cell']}: {row['form']} has a loss of {loss:.4f}, not {expected:.4f}"
            )
        elif not math.isfinite(row["last losses"][0]):
            wrong.append(f"{row['cell']}: {row['form']} ends with a loss that is not finite")
    return wrong


def table(found: list[dict[str, Any]]) -> str:
    """Return the host's and the device's microseconds a step, a column for each form."""
    forms = list(dict.fromkeys(row["form"] for row in found))
    by = {(row["cell"], row["form"]): row for row in found}
    lines = [
        [cell, *(shown(by.get((cell, form))) for form in forms)]
        for cell in dict.fromkeys(row["cell"] for row in found)
    ]
    data = work.mnist() or work.synthetic()
    targets = (
        f"{row['form']}: {TARGET:.0%} of MNIST's test rows after {row['epochs to target']} epochs, "
        f"{row['seconds to target']:.2f} s without compilation ({row['cell']})"
        for row in found
        if row.get("seconds to target") is not None
    )
    clocks = dict.fromkeys(found[place]["clocks"] for place in (0, -1) if found)
    head = f"microseconds a step, the host's / the device's; data: {data.name}"
    return "\n".join([head, report.table(["training", *forms], lines), *targets, *clocks])


def shown(row: dict[str, Any] | None) -> str:
    """Return what a cell of the table says."""
    if row is None:
        return ""
    if "error" in row:
        return "failed"
    on_device = row["device microseconds a step"]
    return f"{row['microseconds a step']:.1f} / {'-' if on_device is None else f'{on_device:.1f}'}"
