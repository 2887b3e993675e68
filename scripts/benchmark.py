"""Time gpunn beside other libraries at the same work on this machine's CPU.

    python scripts/benchmark.py grid                    microseconds a training step
    python scripts/benchmark.py mnist time-to-98        whole epochs; the way to 98 % accuracy
    python scripts/benchmark.py predict footprint gemm  and so on; docs/benchmarks.md says more
    python scripts/benchmark.py subnormals              what numbers of too few digits cost

The other libraries come with the extra `bench`; those that are not installed are left out.
"""

from benchmarks.command import main

if __name__ == "__main__":
    main(prog_name="benchmark.py")
