"""Where arrays live, and how recorded operations are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import array_api_compat
import numpy as np

from gpunn.backends.operations import Operations
from gpunn.backends.recording import Trace, record
from gpunn.backends.staging import Stager
from gpunn.backends.turns import TURNS
from gpunn.typing import Array, HostArray, Namespace, Shape

__all__ = ["Backend"]


class Backend(Operations):
    """Where arrays live and how they are computed with.

    It runs on any mutable array-API namespace without further code. A faster one overrides `lower`
    and `perform`, by lowerings of the operations. An operation changes the arrays that its formulas
    set, `out` among them, in place.

    Parameters
    ----------
    xp : namespace
        An array-API namespace whose arrays can be changed in place.
    device : object
        A device of that namespace; None is its default.
    name : str
        How this backend is asked for.

    Attributes
    ----------
    xp : namespace
        The array-API namespace. Plain functions of it may be used anywhere.
    options : dict
        What `gpunn.get_backend` needs beside the name to give a backend like this one.

    See Also
    --------
    gpunn.get_backend : Returns NumPy's or CuPy's backend, which have faster lowerings.

    Examples
    --------
    The definitions on any namespace of the array-API standard:

    >>> import array_api_compat.numpy as xp
    >>> from gpunn.backends import Backend
    >>> backend = Backend(xp)
    >>> out = backend.zeros((2,), "float32")
    >>> backend.rescale(xp.asarray([1.0, 2.0]), 10.0, 0.5, out)
    >>> out.tolist()
    [10.5, 20.5]
    """

    maker: ClassVar[Callable[[str, Mapping[str, Any]], Backend]]
    """Makes a backend from a name and options; `gpunn.backends.selection` sets it."""

    def __init__(self, xp: Namespace, device: Any = None, name: str = "array-api") -> None:
        self.xp = xp
        self.device = device
        self.name = name
        self.options: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how a copy is made elsewhere: by name and options, there being nothing else to it."""
        return Backend.maker, (self.name, self.options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the backend itself, which stands for a device, and holds no results."""
        return self

    def __repr__(self) -> str:
        """Name the backend."""
        return f"<gpunn backend {self.name!r}>"

    # ------------------------------------------------------------------ placement and transfer

    def describe(self) -> dict[str, str]:
        """Return the backend's name, device and library versions, for a run's record.

        Returns
        -------
        dict of str to str
            "backend", "device" and "library", and what else there is.
        """
        version = getattr(self.xp, "__version__", "unknown")
        return {"backend": self.name, "device": str(self.device), "library": str(version)}

    def algorithms(self) -> dict[str, str]:
        """Return the algorithms that were chosen by measuring, in JSON types, or nothing.

        They change how results are rounded, so they are part of a training's state.

        Returns
        -------
        dict of str to str
            Here nothing.
        """
        return {}

    def restore_algorithms(self, algorithms: Mapping[str, str]) -> None:
        """Take back what `algorithms` returned, maybe in another process.

        Logs a warning if it was on another device or with another release of a library, so that it
        is of no use here. A backend that measures nothing leaves it alone.

        Parameters
        ----------
        algorithms : mapping of str to str
            What `algorithms` returned.
        """

    def dtype(self, name: str) -> Any:
        """Return the namespace's own object for a type's name, such as "float32".

        Parameters
        ----------
        name : str
            Such as "float32".

        Returns
        -------
        dtype
            For functions of the namespace.
        """
        return getattr(self.xp, name)

    def dtype_name(self, array: Array) -> str:
        """Return the name of an array's type.

        Parameters
        ----------
        array : array
            On the device.

        Returns
        -------
        str
            Such as "float32".
        """
        return str(array.dtype).rpartition(".")[2]

    def zeros(self, shape: Shape, dtype: str) -> Array:
        """Return a new array of zeros.

        Parameters
        ----------
        shape, dtype : tuple of int, str
            Its shape, and the name of its type.

        Returns
        -------
        array
            On the device.
        """
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.device)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        """Return a host array on the device, converted to `dtype` if that is given.

        Where the device is the host and nothing needs converting, this may be the same memory.

        Parameters
        ----------
        array, dtype : array, str or None
            On the host, and the name of the type it is to have; None keeps its own.

        Returns
        -------
        array
            On the device.
        """
        host = np.asarray(array, dtype=dtype, order="C")
        return self.xp.asarray(host, device=self.device)

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        """Copy a host array into an array of the device, converting its type.

        Parameters
        ----------
        array, out : array
            On the host, and one of the same shape on the device, which is changed in place.
        """
        host = np.asarray(array, dtype=self.dtype_name(out))
        out[...] = self.xp.asarray(host, device=self.device)

    def stager(self) -> Stager:
        """Return what moves chunks of host data to the device, one after the other.

        Returns
        -------
        Stager
            For one data set.
        """
        return Stager(self)

    def to_host(self, array: Array) -> np.ndarray:
        """Return a copy of a device array as a NumPy array; waits for the device.

        Parameters
        ----------
        array : array
            On the device.

        Returns
        -------
        ndarray
            Of the same shape and type.
        """
        return np.array(np.from_dlpack(array, device="cpu"), copy=True)

    def copy_to_host(self, array: Array, out: np.ndarray) -> None:
        """Copy a device array into a NumPy array; waits for the device.

        Parameters
        ----------
        array, out : array, ndarray
            On the device, and one of the same shape, which is changed in place.
        """
        out[...] = self.to_host(array)

    def copy_to(self, array: Array, out: Array) -> None:
        """Copy an array of the device into another one, converting its type.

        Parameters
        ----------
        array, out : array
            On the device, of the same shape; `out` is changed in place.
        """
        out[...] = array

    def overlap(self, first: Array, second: Array) -> bool:
        """Return whether two arrays may share memory; True where that can't be said.

        Parameters
        ----------
        first, second : array
            On the device.

        Returns
        -------
        bool
            Here True.
        """
        return True

    def synchronize(self) -> None:
        """Wait until the device has done everything asked of it."""

    def free_memory(self) -> int | None:
        """Return the bytes free on a device with memory of its own, or None on the host's.

        Returns
        -------
        int or None
            In bytes; here None.
        """
        return None

    def device_errors(self) -> AbstractContextManager[None]:
        """Return a context in which what a device says of itself becomes an error of gpunn's.

        A lack of memory becomes a `DeviceMemoryError`, a device that has failed a `DeviceError`.

        Returns
        -------
        context manager
            Here one that does nothing.
        """
        return nullcontext()

    def release_memory(self) -> None:
        """Give memory that is kept for reuse back to the device, for other programs."""

    def nbytes(self, array: Array) -> int:
        """Return the bytes of an array's elements.

        Parameters
        ----------
        array : array
            On the device.

        Returns
        -------
        int
            In bytes, without what lies between elements of a view.
        """
        return int(array_api_compat.size(array) or 0) * np.dtype(self.dtype_name(array)).itemsize

    def total(self, arrays: Sequence[Array], out: Array) -> None:
        """Compute the sum of all numbers of some vectors. Nothing waits for the device.

        Parameters
        ----------
        arrays : sequence of array, shapes (n,)
            On the device, of one floating-point type.
        out : array, shape (1,)
            The sum: not finite if a number is infinite or NaN, or if a sum overflows.
        """
        sums = self.zeros((len(arrays),), self.dtype_name(arrays[0]))
        for index, array in enumerate(arrays):
            self.sum(array, sums[index : index + 1])
        self.sum(sums, out)

    # ------------------------------------------------------------------------------ recording

    def recorded(self, operations: Callable[[], object]) -> Callable[[int], None]:
        """Return a function that does these operations a number of times, given as its argument.

        They are noted, not done: `operations` is called once, here. It must ask for nothing but
        operations of this backend; `call` is one that takes a function. What it computes by itself
        is done once, and never again.

        Parameters
        ----------
        operations : function
            Takes nothing; what it returns is not looked at.

        Returns
        -------
        function
            Takes how often they are to be done.

        Raises
        ------
        ArgumentError
            If one of the operations is of another backend.
        """
        return self.lower(record(operations, self))

    def lower(self, trace: Trace) -> Callable[[int], None]:
        """Return a function that does the operations of a trace a number of times.

        Results are those of the operations done one after the other, but for rounding.

        Parameters
        ----------
        trace : list of Operation
            What was recorded.

        Returns
        -------
        function
            Takes how often they are to be done.
        """

        def repeat(times: int) -> None:
            for _ in range(times):
                for one in trace:
                    self.perform(one)

        return repeat

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        """Return `function`, recorded, for arguments of the shape and type of `x`.

        The function must do the same each time, into the same arrays, as `recorded` has it. The
        array that it returns is overwritten by the next call.

        Parameters
        ----------
        function : function
            Takes an array, and returns one.
        x : array
            One such as it will be called with; its values do not matter.

        Returns
        -------
        function
            Takes an array, and returns one.
        """
        own, results = self.copy(x), list[Array]()
        run = self.recorded(lambda: results.append(function(own)))

        def call(argument: Array) -> Array:
            own[...] = argument
            run(1)
            return results[0]

        return call

    def computing(self) -> AbstractContextManager[None]:
        """Return a context for operations that are neither recorded nor within such ones.

        Threads take turns, and subnormal numbers may count as zero, as in recorded operations.

        Returns
        -------
        context manager
            To be entered by each thread.
        """
        return TURNS

    def needs_loss_scale(self, dtype: str) -> bool:
        """Return whether products of this type have so narrow a range that small gradients vanish.

        The gradient is computed from a scaled loss then (Micikevicius et al. 2018, "Mixed Precision
        Training", section 3.2).

        Parameters
        ----------
        dtype : str
            That of the network.

        Returns
        -------
        bool
            Here False.
        """
        return False
