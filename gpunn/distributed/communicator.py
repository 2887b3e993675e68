"""The interface of collective calls between processes that train one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias
from weakref import WeakSet

import numpy as np

from gpunn.backends import Backend

TIMEOUT = 300.0

Gather: TypeAlias = Callable[[Any, str], list[Any]]
"""Returns all ranks' values, given this rank's value and a description of the value."""

Parcel: TypeAlias = tuple[Any, int]
"""A pair of an array and the rank that receives or sends the array."""


class Communicator:
    """Collective calls of `size` processes, which must all make the same calls in the same order.

    This class is for a single process; its subclasses connect several processes.

    Parameters
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    local_rank, local_size : int
        The index of this process on this machine, and the number of processes on it.

    Attributes
    ----------
    name : str
        The name of this kind of communicator in messages.
    timeout : float
        Seconds to wait for the other processes. After this time, all processes are stopped.
    agreement : Agreement or None
        The `Agreement` of this communicator, or None before `Agreement.over` has made it.
    overlaps : bool
        Whether `exchange` is available, and can run during computations.
    graphs : WeakSet
        CUDA graphs that contain calls of this communicator. The graphs must be destroyed before the
        communicator.

    See Also
    --------
    communicator : Connects the processes that were started together.

    Examples
    --------
    >>> alone = gpunn.distributed.Communicator()
    >>> alone
    <gpunn communicator 'none', rank 0 of 1>
    >>> out = np.empty((1, 2))
    >>> alone.all_gather(np.array([1.0, 2.0]), out)
    >>> out.tolist()
    [[1.0, 2.0]]
    """

    name = "none"
    overlaps = False

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1
    ) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        self.timeout = TIMEOUT
        self.agreement: Any = None
        self.graphs: WeakSet[Any] = WeakSet()

    def __repr__(self) -> str:
        return f"<gpunn communicator {self.name!r}, rank {self.rank} of {self.size}>"

    def supports(self, backend: Backend, gather: Gather) -> bool:
        """Return whether the collective calls accept arrays of this backend directly.

        All ranks call this method at the same time, and use `gather` to agree on the result.

        Parameters
        ----------
        backend : Backend
            The backend that computes.
        gather : function
            Returns all ranks' values, given this rank's value and a description of the value.

        Returns
        -------
        bool
            Whether the collective calls accept the backend's arrays; always True in this class.
        """
        return True

    def all_to_all(self, blocks: np.ndarray, out: np.ndarray) -> None:
        """For each rank r, set out[r] to the block that rank r sends to this rank.

        Parameters
        ----------
        blocks : array, shape (size, length)
            One block for each rank.
        out : array, shape (size, length)
            The received blocks, written in place.
        """
        out[...] = blocks

    def all_gather(self, block: np.ndarray, out: np.ndarray) -> None:
        """For each rank r, set out[r] to the block of rank r.

        Parameters
        ----------
        block : array, shape (length,)
            This rank's block, which may be a view of this rank's row of `out`.
        out : array, shape (size, length)
            The blocks of all ranks, written in place.
        """
        if block is not out[0]:
            out[0] = block

    def exchange(self, sends: Sequence[Parcel], receives: Sequence[Parcel]) -> None:
        """Send arrays to other ranks and receive arrays from other ranks, at the same time.

        If a rank sends several arrays to another rank, the receiver must receive these arrays in
        the same order, into arrays of equal sizes.

        Parameters
        ----------
        sends : sequence of (array, int)
            Arrays, and the ranks that receive them.
        receives : sequence of (array, int)
            Arrays to write, and the ranks that send their contents.
        """
        raise NotImplementedError

    def gather(self, message: Any) -> list[Any]:
        """Return a list of all ranks' messages, in order of rank.

        Parameters
        ----------
        message : object
            This rank's message: any object that can be pickled.

        Returns
        -------
        list
            One message per rank.
        """
        return [message]

    def trouble(self) -> str:
        """Return why calls that run on a device have failed, or "" if no call has failed.

        Any thread may call this method.

        Returns
        -------
        str
            The reason, which is always "" in this class.
        """
        return ""

    def abort(self) -> NoReturn:
        """End all processes immediately, with an exit status other than 0."""
        raise SystemExit(1)


def on_host(backend: Backend) -> bool:
    return isinstance(backend.zeros((0,), "float32"), np.ndarray)
