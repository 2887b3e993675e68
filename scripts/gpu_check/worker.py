"""Run one step in this process and write its outcome to a file: worker.py CALL FILE PARENT.

It ends with its parent, whose process id is the last argument.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
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


def end_with(parent: int) -> None:
    """End this process and all that it started when the check has ended, as by kill -9."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    # Not its parent's id as it is seen from here: the parent may have ended by now.
    threading.Thread(target=end_with, args=(int(sys.argv[3]),), daemon=True).start()
    answer = json.dumps(asdict(outcome_of(sys.argv[1])))
    Path(sys.argv[2]).write_text(answer, encoding="utf-8")
