"""The processor's FMA peak: the fastest rate at which it multiplies and adds, measured.

Each thread repeats fused multiply-adds on vectors that stay in registers, without reading memory.
So no matrix product and no training step can be faster.
"""

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import click

from benchmarks import machine
from benchmarks.competitors import version

REPETITIONS = 20
SECONDS = 0.02
"""Minimum length of a repetition. The fastest repetition counts."""

C_TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}
LLVM_TYPES = {"float32": "float", "float64": "double"}

SOURCE = """
declare {vector} @llvm.fma.{suffix}({vector}, {vector}, {vector})
declare {scalar} @llvm.vector.reduce.fadd.{suffix}({scalar}, {vector})
define {scalar} @multiply_add(i64 %count, {scalar} %factor, {scalar} %term) {{
entry:
  %factor0 = insertelement {vector} poison, {scalar} %factor, i32 0
  %factors = shufflevector {vector} %factor0, {vector} poison, <{lanes} x i32> zeroinitializer
  %term0 = insertelement {vector} poison, {scalar} %term, i32 0
  %terms = shufflevector {vector} %term0, {vector} poison, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  %round = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{multiply_adds}
  %next = add i64 %round, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  %sum0 = fadd {scalar} 0.0, 0.0
{sums}
  ret {scalar} %sum{registers}
}}
"""
PHI = "  %a{n} = phi {vector} [ zeroinitializer, %entry ], [ %b{n}, %loop ]"
MULTIPLY_ADD = (
    "  %b{n} = call {vector} @llvm.fma.{suffix}({vector} %a{n}, {vector} %factors, {vector} %terms)"
)
SUM = (
    "  %sum{next} = call {scalar} @llvm.vector.reduce.fadd.{suffix}"
    "({scalar} %sum{n}, {vector} %b{n})"
)


class Kernel:
    """A compiled loop of independent multiply-adds, called as `kernel(count, factor, term)`.

    Each of the `numbers` numbers in registers starts at 0 and becomes number · factor + term,
    `count` times. The result is their sum.
    """

    def __init__(self, dtype: str) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        size = 64 if features.get("avx512f") else 32 if features.get("fma") else 16
        registers = 12 if size == 32 else 24  # of 16 or 32; enough to hide the latency
        c_type, scalar = C_TYPES[dtype], LLVM_TYPES[dtype]
        lanes = size // ctypes.sizeof(c_type)
        words = {"vector": f"<{lanes} x {scalar}>", "scalar": scalar, "lanes": lanes}
        words |= {"suffix": f"v{lanes}f{8 * ctypes.sizeof(c_type)}", "registers": registers}

        def repeated(line: str) -> str:
            return "\n".join(line.format(n=n, next=n + 1, **words) for n in range(registers))

        lines = {"phis": PHI, "multiply_adds": MULTIPLY_ADD, "sums": SUM}
        source = SOURCE.format(**words, **{name: repeated(line) for name, line in lines.items()})
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
        )
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), target)
        self.engine.finalize_object()
        address = self.engine.get_function_address("multiply_add")
        self.function = ctypes.CFUNCTYPE(c_type, ctypes.c_int64, c_type, c_type)(address)
        self.numbers = lanes * registers

    def __call__(self, count: int, factor: float, term: float) -> float:
        result: float = self.function(count, factor, term)
        return result


kernel = cache(Kernel)


def peak(threads: int, dtype: str = "float32") -> float:
    """Return the GFLOP/s of this many threads, two operations for each multiply-add."""
    multiply_add, count = kernel(dtype), 1000
    while seconds(partial(multiply_add, count, 1.0, 1.0)) < SECONDS:
        count *= 2
    with ThreadPoolExecutor(threads) as pool:

        def all_threads() -> None:
            list(pool.map(lambda _: multiply_add(count, 1.0, 1.0), range(threads)))

        fastest = min(seconds(all_threads) for _ in range(REPETITIONS))
    return 2 * threads * count * multiply_add.numbers / fastest / 1e9


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    call()
    return clock() - began


@click.command("fma-peak")
def command() -> None:
    """Measure the processor's FMA peak in float32 with one thread and with all threads."""
    if version("llvmlite") is None:
        raise click.ClickException("llvmlite is not installed; pip install '.[fast]'")
    click.echo(f"processor: {machine.described()['processor']}")
    for threads in dict.fromkeys((1, machine.usable_cores())):
        click.echo(f"threads = {threads}: {peak(threads):.0f} GFLOP/s")
