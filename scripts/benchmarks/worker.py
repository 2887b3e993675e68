"""A competitor's process: python -m benchmarks.worker NAME

The process answers jobs, which are methods of `jobs.Jobs`. Questions and answers are pickled on
standard input and output.
"""

import os
import pickle
import sys
import warnings

from benchmarks.competitors import EVERYBODY


def main(name: str) -> None:
    warnings.simplefilter("ignore")
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[: int(os.environ["OMP_NUM_THREADS"])]
        os.sched_setaffinity(0, allowed)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library's output is no answer
    from benchmarks import adapters
    from benchmarks.jobs import Jobs

    jobs = Jobs(adapters.load(EVERYBODY[name].adapter))
    while True:
        try:
            job, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(jobs, job)(**arguments)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
