"""Run one step in this process and write its outcome to a file: worker.py CALL FILE."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

import device
from outcome import FAILED, SKIPPED, Outcome, SkipStepError


def outcome_of(call: str) -> Outcome:
    """Return what the step says; an error that it raises is a failure."""
    target, _, arguments = call.partition(":")
    module, _, function = target.rpartition(".")
    try:
        device.prepare()
        run = getattr(importlib.import_module(f"steps.{module}"), function)
        outcome: Outcome = run(*filter(None, arguments.split(",")))
        return outcome
    except SkipStepError as reason:
        return Outcome(SKIPPED, str(reason))
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(FAILED, f"{type(error).__name__}: {first}")


if __name__ == "__main__":
    answer = json.dumps(asdict(outcome_of(sys.argv[1])))
    Path(sys.argv[2]).write_text(answer, encoding="utf-8")
