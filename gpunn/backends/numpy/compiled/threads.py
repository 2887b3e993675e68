"""Threads that run one program together, and meet at its barriers.

A step of a small network takes some ten microseconds, about as long as it takes to wake a thread.
So the threads stay in compiled code from one operation to the next, spin on a counter in memory at
a barrier, and spin for a while on the mailbox, where the next program comes, before they sleep.
"""

from __future__ import annotations

import os
import threading

import numpy as np
from numba import types

from gpunn.backends.numpy.compiled.kernel import MAX_ARGS, compiled
from gpunn.backends.numpy.compiled.pointers import (
    atomic_add,
    atomic_load,
    call,
    flush_subnormals,
    hint_spinning,
    set_float_flags,
)
from gpunn.errors import ArgumentError

__all__ = ["ROW_SIZE", "Team", "team"]

ROW_SIZE = MAX_ARGS + 2
"""Integers in a row of a program's table: kernel, whether a barrier follows, arguments."""

ARRIVED, DONE, GENERATION, SLEEPING, JOB = 0, 8, 16, 24, 32
"""Places in a team's mailbox, in integers of 64 bits; each has a cache line of its own. They hold
the threads that have arrived at barriers, the workers that are done, the number of the newest
program, the threads that sleep, and that program's table, length and repetitions."""

SPIN_LIMIT = 20_000
"""Looks at the mailbox before a worker sleeps; some hundred microseconds."""

YIELD_AFTER = 2_000
"""Looks at a counter before a thread gives up its core: another may need it to arrive."""


def _address_of_yield() -> int:
    import ctypes

    try:
        library = ctypes.CDLL(None)
        return int(ctypes.cast(library.sched_yield, ctypes.c_void_p).value or 0)
    except (OSError, AttributeError):
        return 0


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


@compiled
def run_as_leader(
    table: int, length: int, times: int, threads: int, mailbox: int, sched_yield: int
) -> None:
    """Run a program as thread 0, and wait for the workers."""
    flags = flush_subnormals()
    run(table, length, times, 0, threads, mailbox, sched_yield)
    set_float_flags(flags)
    wait_for(mailbox + DONE * 8, threads - 1, sched_yield, mailbox)


@compiled
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


@compiled
def start_sleeping(mailbox: int, amount: int) -> int:
    """Add to the number of threads that sleep, and return the number of the newest program."""
    atomic_add(mailbox + SLEEPING * 8, amount)
    return atomic_load(mailbox + GENERATION * 8)


class Team:
    """The thread that asks for programs, the leader, and workers, which wait for them.

    Parameters
    ----------
    threads : int
        All of them, this one included.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._mailbox = np.zeros(64, np.int64)
        # Where a cache line begins.
        self._address = self._mailbox.ctypes.data + -self._mailbox.ctypes.data % 64
        offset = (self._address - self._mailbox.ctypes.data) // 8
        self._slots = self._mailbox[offset:]
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._yield = _address_of_yield()
        compile_all()  # now, since an interruption in the middle of a program would be too late
        for thread in range(1, threads):
            worker = threading.Thread(
                target=self._work, args=(thread,), name=f"gpunn-{thread}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError as error:
                raise ArgumentError(
                    f"threads: the system lets this process start no more than {thread} of "
                    f"{threads} threads ({error}); ask for fewer"
                ) from error

    def run(self, table: np.ndarray, times: int) -> None:
        """Run the program in `table` `times` times; callers take turns."""
        with self._lock:
            slots, length = self._slots, len(table)
            address = table.ctypes.data
            if self.threads > 1:
                slots[ARRIVED] = slots[DONE] = 0
                slots[JOB], slots[JOB + 1], slots[JOB + 2] = address, length, times
            published = woken = self.threads == 1
            try:
                if not published:
                    sleeping = publish(self._address)
                    published = True
                    for _ in range(sleeping):
                        self._wake.release()
                    woken = True
            finally:
                # Also if this is interrupted: workers that have begun wait at the barriers. One
                # call too many of either kind does no harm to those that are awake.
                if not published:
                    publish(self._address)
                if not woken:
                    self._wake.release(self.threads - 1)
                run_as_leader(address, length, times, self.threads, self._address, self._yield)

    def _work(self, thread: int) -> None:
        seen = 0
        while True:
            seen = run_as_worker(thread, self.threads, seen, self._address, self._yield)
            # A program that came between the last look and this count has not woken this thread.
            if start_sleeping(self._address, 1) == seen:
                self._wake.acquire()
            start_sleeping(self._address, -1)


@compiled
def publish(mailbox: int) -> int:
    """Announce a program, and return how many threads sleep."""
    atomic_add(mailbox + GENERATION * 8, 1)
    return atomic_load(mailbox + SLEEPING * 8)


def compile_all() -> None:
    """Compile, or load, what the threads of a team call."""
    for function, arguments in (
        (publish, 1),
        (start_sleeping, 2),
        (run_as_worker, 5),
        (run_as_leader, 6),
    ):
        function.compile((types.int64,) * arguments)


_teams: dict[int, Team] = {}
_teams_lock = threading.Lock()


def forget_teams() -> None:
    """Begin anew in a forked process, which has none of its parent's threads."""
    global _teams_lock
    _teams.clear()
    _teams_lock = threading.Lock()


os.register_at_fork(after_in_child=forget_teams)


def team(threads: int) -> Team:
    """Return the team of this many threads; each process makes its own."""
    with _teams_lock:
        if threads not in _teams:
            _teams[threads] = Team(threads)
        return _teams[threads]
