"""A competitor's process: it answers jobs, a line of JSON each.

python -m benchmarks.worker NAME
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

from benchmarks.catalogue import EVERYBODY


def main(name: str) -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[: int(os.environ["OMP_NUM_THREADS"])]
        os.sched_setaffinity(0, allowed)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    competitor = EVERYBODY[name]
    for module in competitor.hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    began = time.perf_counter()
    from benchmarks import adapters

    adapter = adapters.load(competitor.adapter)
    import_seconds = time.perf_counter() - began
    from benchmarks.jobs import Jobs

    jobs = Jobs(adapter, import_seconds)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(jobs, question.pop("job"))(**question)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
