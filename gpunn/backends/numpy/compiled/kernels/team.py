"""The loops of a team's threads, which run programs and wait for each other and for the next."""

from __future__ import annotations

from gpunn.backends.numpy.compiled.interface import (
    ARRIVED,
    DONE,
    GENERATION,
    JOB,
    ROW_SIZE,
    SLEEPING,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, entry
from gpunn.backends.numpy.compiled.kernels.pointers import (
    atomic_add,
    atomic_load,
    call,
    flush_subnormals,
    hint_spinning,
    set_float_flags,
)

SPIN_LIMIT = 20_000
"""Looks at the mailbox before a worker sleeps; some hundred microseconds."""

YIELD_AFTER = 2_000
"""Looks at a counter before a thread gives up its core: another may need it to arrive."""


@compiled
def wait_for(counter: int, count: int, sched_yield: int, mailbox: int) -> None:
    """Wait until the counter at an address has come to `count`."""
    looks = 0
    while atomic_load(counter) < count:
        hint_spinning()
        looks += 1
        if looks >= YIELD_AFTER and sched_yield != 0:
            call(sched_yield, mailbox, 0, 0)


@compiled
def run(
    table: int,
    length: int,
    times: int,
    thread: int,
    threads: int,
    mailbox: int,
    sched_yield: int,
) -> None:
    """Run a program `times` times; all arguments but `thread` are the same for all threads.

    `table`, `mailbox` and `sched_yield` are addresses; that function is called with arguments that
    it ignores.
    """
    met = 0
    for _ in range(times):
        for index in range(length):
            row = table + index * ROW_SIZE * 8
            call(atomic_load(row), row + 16, thread, threads)
            if threads > 1 and atomic_load(row + 8) != 0:
                met += threads
                atomic_add(mailbox + ARRIVED * 8, 1)
                wait_for(mailbox + ARRIVED * 8, met, sched_yield, mailbox)


@entry
def run_as_leader(
    table: int, length: int, times: int, threads: int, mailbox: int, sched_yield: int
) -> None:
    """Run a program as thread 0, and wait for the workers."""
    flags = flush_subnormals()
    run(table, length, times, 0, threads, mailbox, sched_yield)
    set_float_flags(flags)
    wait_for(mailbox + DONE * 8, threads - 1, sched_yield, mailbox)


@entry
def run_as_worker(thread: int, threads: int, seen: int, mailbox: int, sched_yield: int) -> int:
    """Run programs in the mailbox until none comes for a while; return the last one's number."""
    flush_subnormals()  # for good, since this thread does nothing but compute
    looks = 0
    while looks < SPIN_LIMIT:
        generation = atomic_load(mailbox + GENERATION * 8)
        if generation == seen:
            hint_spinning()
            looks += 1
            continue
        looks = 0
        seen = generation
        job = mailbox + JOB * 8
        run(
            atomic_load(job),
            atomic_load(job + 8),
            atomic_load(job + 16),
            thread,
            threads,
            mailbox,
            sched_yield,
        )
        atomic_add(mailbox + DONE * 8, 1)
    return seen


@entry
def start_sleeping(mailbox: int, amount: int) -> int:
    """Add to the number of threads that sleep, and return the number of the newest program."""
    atomic_add(mailbox + SLEEPING * 8, amount)
    return atomic_load(mailbox + GENERATION * 8)


@entry
def publish(mailbox: int) -> int:
    """Announce a program, and return how many threads sleep."""
    atomic_add(mailbox + GENERATION * 8, 1)
    return atomic_load(mailbox + SLEEPING * 8)
