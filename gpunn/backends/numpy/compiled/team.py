"""Teams of threads, which run a program together and synchronize at its barriers.

Waking a thread takes about as long as a training step of a small network, ten microseconds. So
threads do not sleep between operations, but stay in compiled code. At a barrier, a thread reads a
counter in a loop (spins) until all threads have arrived. A thread without a program spins for a
while, waiting for a program in the mailbox, and then sleeps.
"""

import os
import threading

import numpy as np

from gpunn.backends.numpy.compiled.interface import CLAIMS, DONE, FINISHED, JOB, LINE
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.errors import ArgumentError


def _address_of_yield() -> int:
    import ctypes

    try:
        library = ctypes.CDLL(None)
        return int(ctypes.cast(library.sched_yield, ctypes.c_void_p).value or 0)
    except (OSError, AttributeError):
        return 0


class Table:
    def __init__(self, rows: np.ndarray) -> None:
        # Stored, since NumPy takes longer to return the address than a small program to run.
        self.rows, self.address = rows, rows.ctypes.data


class Team:
    """Worker threads that wait for programs. The leader is the thread that calls `run`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._mailbox = np.zeros(CLAIMS + (threads + 1) * LINE, np.int64)
        # The mailbox begins at a cache line.
        self._address = self._mailbox.ctypes.data + -self._mailbox.ctypes.data % 64
        offset = (self._address - self._mailbox.ctypes.data) // 8
        self._slots = self._mailbox[offset:]
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._yield = _address_of_yield()
        self._code = loaded_library()
        for thread in range(1, threads):
            worker = threading.Thread(
                target=self._work, args=(thread,), name=f"gpunn-{thread}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError as error:
                raise ArgumentError(
                    f"threads: the system allows this process only {thread} of {threads} threads "
                    f"({error}); set a smaller number"
                ) from error

    def run(self, table: Table, times: int) -> None:
        with self._lock:
            slots, length, address = self._slots, len(table.rows), table.address
            if self.threads > 1:
                slots[FINISHED] = slots[DONE] = slots[CLAIMS::LINE] = 0
                slots[JOB], slots[JOB + 1], slots[JOB + 2] = address, length, times
            published = woken = self.threads == 1
            try:
                if not published:
                    sleeping = self._code.publish(self._address)
                    published = True
                    for _ in range(sleeping):
                        self._wake.release()
                    woken = True
            finally:
                # Even after an interruption, workers that have started wait for the leader's share.
                # If the workers are awake, a superfluous call of either kind has no effect.
                if not published:
                    self._code.publish(self._address)
                if not woken:
                    self._wake.release(self.threads - 1)
                self._code.run_as_leader(
                    address, length, times, self.threads, self._address, self._yield
                )

    def _work(self, thread: int) -> None:
        seen = 0
        while True:
            seen = self._code.run_as_worker(thread, self.threads, seen, self._address, self._yield)
            # The publisher of an earlier program has not counted this thread as sleeping.
            if self._code.start_sleeping(self._address, 1) == seen:
                self._wake.acquire()
            self._code.start_sleeping(self._address, -1)


_teams: dict[int, Team] = {}
_teams_lock = threading.Lock()


def forget_teams() -> None:
    # Threads do not survive a fork.
    global _teams_lock
    _teams.clear()
    _teams_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_teams)


def team(threads: int) -> Team:
    with _teams_lock:
        if threads not in _teams:
            _teams[threads] = Team(threads)
        return _teams[threads]
