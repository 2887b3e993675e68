"""The loops in which threads run a program, wait for each other, and wait for the next program.

A program is a sequence of stretches, each of which ends with a barrier. A stretch has one share for
each thread: share i calls each kernel with the argument `thread` = i. A thread claims its share,
runs it, and waits for the other shares. If a share remains unclaimed because its thread lost its
core to another process, a waiting thread runs that share. The results do not depend on which thread
runs a share.
"""

from __future__ import annotations

from gpunn.backends.numpy.compiled.interface import (
    CLAIMS,
    DONE,
    ENTERED,
    FINISHED,
    FIRST_ARG,
    GENERATION,
    JOB,
    LINE,
    ROW_SIZE,
    SLEEPING,
)
from gpunn.backends.numpy.compiled.kernels.kernel import compiled, entry
from gpunn.backends.numpy.compiled.kernels.pointers import (
    atomic_add,
    atomic_exchange_if,
    atomic_load,
    call,
    flush_subnormals,
    hint_spinning,
    set_float_flags,
)

SPIN_LIMIT = 20_000
"""Number of checks of the mailbox before a worker sleeps: a few hundred microseconds."""

HELP_AFTER = 64
"""Number of checks of a counter between two searches for unclaimed shares: about 1 µs."""

YIELD_AFTER = 2_000
"""Number of checks of a counter before a waiting thread offers its core to other threads."""


@compiled
def run_share(begin: int, end: int, share: int, threads: int) -> None:
    """Run one share of a stretch of kernels."""
    while begin < end:
        # All kernels of the group process a piece while the piece is in the cache.
        pieces = atomic_load(begin + 16)
        after = begin + atomic_load(begin + 24) * (ROW_SIZE * 8)
        for piece in range(share * pieces, (share + 1) * pieces):
            for row in range(begin, after, ROW_SIZE * 8):
                call(atomic_load(row), row + FIRST_ARG * 8, piece, threads * pieces)
        begin = after


@compiled
def claimed(mailbox: int, share: int, stretch: int) -> bool:
    claims = mailbox + (CLAIMS + share * LINE) * 8
    return atomic_load(claims) == stretch and atomic_exchange_if(claims, stretch, stretch + 1)


@compiled
def run_stretch(
    begin: int, end: int, stretch: int, thread: int, threads: int, mailbox: int, sched_yield: int
) -> None:
    """Run a thread's share of a stretch of kernels, then help or wait until all shares are done."""
    finished, all_of_them = mailbox + FINISHED * 8, (stretch + 1) * threads
    if claimed(mailbox, thread, stretch):
        run_share(begin, end, thread, threads)
        atomic_add(finished, 1)
    looks = 0
    while atomic_load(finished) < all_of_them:
        hint_spinning()
        looks += 1
        if looks % HELP_AFTER == 0:
            for share in range(threads):
                if claimed(mailbox, share, stretch):
                    run_share(begin, end, share, threads)
                    atomic_add(finished, 1)
        if looks >= YIELD_AFTER and sched_yield != 0:
            call(sched_yield, mailbox, 0, 0)


@compiled
def run(
    table: int, length: int, times: int, thread: int, threads: int, mailbox: int, sched_yield: int
) -> None:
    """Run this thread's shares of a program `times` times; all threads call this function."""
    row_bytes = ROW_SIZE * 8
    end, stretch = table + length * row_bytes, 0
    for _ in range(times):
        if threads == 1:
            run_share(table, end, 0, 1)
            continue
        begin = row = table
        while row < end:
            is_last = atomic_load(row + 8) != 0
            row += row_bytes
            if is_last:
                run_stretch(begin, row, stretch, thread, threads, mailbox, sched_yield)
                begin = row
                stretch += 1


@entry
def run_as_leader(
    table: int, length: int, times: int, threads: int, mailbox: int, sched_yield: int
) -> None:
    flags = flush_subnormals()
    run(table, length, times, 0, threads, mailbox, sched_yield)
    set_float_flags(flags)
    if threads == 1:
        return
    address = mailbox + ENTERED * 8
    entered = atomic_load(address)
    while not atomic_exchange_if(address, entered, 0):
        entered = atomic_load(address)
    looks = 0
    while atomic_load(mailbox + DONE * 8) < entered // 2:
        hint_spinning()
        looks += 1
        if looks >= YIELD_AFTER and sched_yield != 0:
            call(sched_yield, mailbox, 0, 0)


@entry
def run_parts(parts: int, count: int) -> None:
    """Run the `count` programs listed at address `parts` in order, in this thread only."""
    flags = flush_subnormals()
    for part in range(parts, parts + count * 24, 24):
        run(atomic_load(part), atomic_load(part + 8), atomic_load(part + 16), 0, 1, 0, 0)
    set_float_flags(flags)


@compiled
def may_enter(mailbox: int) -> bool:
    """Try to join the program in the mailbox, and return whether this thread has joined."""
    address = mailbox + ENTERED * 8
    entered = atomic_load(address)
    while entered % 2 == 1:
        if atomic_exchange_if(address, entered, entered + 2):
            return True
        entered = atomic_load(address)
    return False


@entry
def run_as_worker(thread: int, threads: int, seen: int, mailbox: int, sched_yield: int) -> int:
    """Run programs from the mailbox until no more arrive; return the last program's number."""
    flush_subnormals()  # permanently, since this thread only computes
    looks = 0
    while looks < SPIN_LIMIT:
        generation = atomic_load(mailbox + GENERATION * 8)
        if generation == seen:
            hint_spinning()
            looks += 1
            continue
        looks = 0
        seen = generation
        if not may_enter(mailbox):
            continue  # other threads have finished the program
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
    """Add `amount` to the number of sleeping threads, and return the newest program's number."""
    atomic_add(mailbox + SLEEPING * 8, amount)
    return atomic_load(mailbox + GENERATION * 8)


@entry
def publish(mailbox: int) -> int:
    """Let workers run the program in the mailbox, and return the number of sleeping workers."""
    atomic_exchange_if(mailbox + ENTERED * 8, 0, 1)
    atomic_add(mailbox + GENERATION * 8, 1)
    return atomic_load(mailbox + SLEEPING * 8)
