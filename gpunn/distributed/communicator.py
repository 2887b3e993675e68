"""What processes that train one network need of each other; it knows nothing of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias
from weakref import WeakSet

import numpy as np

from gpunn.backends import Backend

__all__ = ["TIMEOUT", "Communicator", "Gather", "Parcel", "on_host"]

TIMEOUT = 300.0
"""Seconds to wait for the other ranks, unless it is said how many."""

Gather: TypeAlias = Callable[[Any, str], list[Any]]
"""Returns what each rank gives; the arguments are what this one gives, and what it is."""

Parcel: TypeAlias = tuple[Any, int]
"""An array, and the rank that it goes to or comes from."""


class Communicator:
    """Collective calls of `size` processes: each must make the same calls, in the same order.

    This class is a world of one process; subclasses are larger ones.

    Parameters
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    local_rank, local_size : int
        The same among the processes on this machine.

    Attributes
    ----------
    name : str
        What kind it is, in messages.
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    local_rank, local_size : int
        The same among the processes on this machine.
    timeout : float
        Seconds to wait for the others before all end.
    agreement : Agreement or None
        What carries messages over it, once there is one; see `Agreement.over`.
    overlaps : bool
        Whether `exchange` is there, and may run beside computations.
    graphs : WeakSet
        CUDA graphs with calls of it, which have to be destroyed before it ends.

    See Also
    --------
    communicator : Returns one of the processes that were started together.

    Examples
    --------
    >>> import numpy as np
    >>> import gpunn
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

    def takes(self, backend: Backend, gather: Gather) -> bool:
        """Return whether the collective calls take arrays of this backend as they are.

        If not, they are copied to the host and back. All ranks ask at the same time, and `gather`
        lets them agree, so that this may be where something begins.

        Parameters
        ----------
        backend : Backend
            The one that computes.
        gather : function
            Returns what each rank gives; its arguments are what this one gives, and what it is.

        Returns
        -------
        bool
            Here True.
        """
        return True

    def all_to_all(self, blocks: np.ndarray, out: np.ndarray) -> None:
        """Exchange blocks: out[r] becomes what rank r has as blocks[this rank].

        Parameters
        ----------
        blocks : array, shape (size, length)
            One for each rank.
        out : array, shape (size, length)
            Changed in place.
        """
        out[...] = blocks

    def all_gather(self, block: np.ndarray, out: np.ndarray) -> None:
        """Gather blocks: out[r] becomes the block of rank r.

        Parameters
        ----------
        block : array, shape (length,)
            This rank's; it may be out[this rank].
        out : array, shape (size, length)
            Changed in place.
        """
        if block is not out[0]:
            out[0] = block

    def exchange(self, sends: Sequence[Parcel], receives: Sequence[Parcel]) -> None:
        """Send arrays to ranks, and set others to what ranks send, all at once.

        What one rank sends another one gets in the same order, of the same sizes.

        Parameters
        ----------
        sends : sequence of (array, int)
            Arrays, and the ranks that they go to.
        receives : sequence of (array, int)
            Arrays to be changed in place, and the ranks that send what is to be in them.
        """
        raise NotImplementedError

    def gather(self, message: Any) -> list[Any]:
        """Return the messages of all ranks, in their order.

        Parameters
        ----------
        message : object
            Anything that can be pickled.

        Returns
        -------
        list
            One message a rank.
        """
        return [message]

    def trouble(self) -> str:
        """Return why calls that run on a device have failed; an empty string if none has.

        Returns
        -------
        str
            Here always empty. Another thread may ask for it.
        """
        return ""

    def abort(self) -> NoReturn:
        """End all processes at once, with a status that is not 0."""
        raise SystemExit(1)


def on_host(backend: Backend) -> bool:
    """Return whether a backend's arrays are NumPy's."""
    return isinstance(backend.zeros((0,), "float32"), np.ndarray)
