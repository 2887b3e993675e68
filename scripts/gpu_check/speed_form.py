"""One library in a process of its own, which trains as it is told: speed_form.py MODULE MODE.

It reads lines of JSON and answers each with one: first it says which library it is, or why it can't
be used; then it is told a training, and the epochs of one stretch of it after the other.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

import device
from outcome import SkipStepError
from steps.cells import Cell, Stretch


def main(module: str, mode: str) -> None:
    """Answer until there are no more questions."""
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**figures: Any) -> None:
        answers.write(json.dumps(figures) + "\n")
        answers.flush()

    device.prepare()
    form = importlib.import_module(f"steps.{module}")
    try:
        answer(library=form.start(mode))
    except SkipStepError as reason:
        answer(skip=str(reason))
        return
    for line in sys.stdin:
        question = json.loads(line)
        if "cell" not in question:  # the rest of a training that has failed
            continue
        cell = Cell(**{**question["cell"], "sizes": tuple(question["cell"]["sizes"])})
        try:
            form.train(mode, cell, asker(cell, answer))
            answer(ended=True)
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            answer(error=f"{type(error).__name__}: {first}")


def asker(cell: Cell, answer: Any) -> Any:
    """Return what a training asks for its epochs."""
    from steps import work

    _, _, X_test, y_test = work.classification(cell.sizes[0])
    accuracy_wanted = False

    def ask(done: Stretch | None) -> int:
        nonlocal accuracy_wanted
        if done is not None:
            accuracy = None
            if accuracy_wanted:
                accuracy = float((done.predict(X_test) == y_test).mean())
            answer(
                seconds=done.seconds,
                device_seconds=done.device_seconds,
                losses=[float(loss) for loss in done.losses],
                accuracy=accuracy,
                peak_bytes=done.peak_bytes,
            )
        question = json.loads(sys.stdin.readline() or '{"epochs": 0}')
        accuracy_wanted = question.get("accuracy", False)
        return int(question["epochs"])

    return ask


if __name__ == "__main__":
    main(*sys.argv[1:])
