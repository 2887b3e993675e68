"""Measure gpunn on this machine's CPU, and other libraries that do the same work.

    python scripts/benchmark.py --help          what can be measured
    python scripts/benchmark.py grid --help     its options

The other libraries come with the extra `bench`; those that are not installed are left out.
docs/explanation/benchmarks.md has the results, docs/project/benchmarking.md the method.
"""

from benchmarks.commands import command

if __name__ == "__main__":
    command(prog_name="benchmark.py")
