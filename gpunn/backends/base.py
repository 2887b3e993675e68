"""The base class of backends, which store arrays on a device and run operations on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

import array_api_compat
import numpy as np

from gpunn.backends.collection import COLLECTION
from gpunn.backends.operations import Operations
from gpunn.backends.recording import Repeated, Trace, record
from gpunn.backends.staging import Stager
from gpunn.backends.turns import TURNS
from gpunn.randomness import permutation
from gpunn.typing import Array, HostArray, Namespace, Shape


class Backend(Operations):
    """A device that stores arrays, and runs operations on the arrays.

    Faster backends override `lower` and `perform` to run faster versions of the operations.

    Parameters
    ----------
    xp : namespace
        An array-API namespace whose arrays can be changed in place.
    device : object
        A device of the namespace, or None for its default device.
    name : str
        The backend's name, as in `gpunn.get_backend`.

    Attributes
    ----------
    options : dict
        Arguments, besides the name, for which `gpunn.get_backend` returns an equal backend.

    See Also
    --------
    gpunn.get_backend : Returns the backend of NumPy or CuPy, with faster operations.

    Examples
    --------
    Run an operation's definition on an array-API namespace:

    >>> import array_api_compat.numpy as xp
    >>> from gpunn.backends import Backend
    >>> backend = Backend(xp)
    >>> out = backend.zeros((2,), "float32")
    >>> backend.rescale(xp.asarray([1.0, 2.0]), 10.0, 0.5, out)
    >>> out.tolist()
    [10.5, 20.5]
    """

    parallel_fits: ClassVar[int | None] = 1
    """How many networks `gpunn.train_together` trains at the same time by default. None means one
    network per core. With 1, networks can only train one after another."""

    _maker: ClassVar[Callable[[str, Mapping[str, Any]], Backend]]
    """Returns the backend with a name and options; set by `gpunn.backends.selection`."""

    def __init__(self, xp: Namespace, device: Any = None, name: str = "array-api") -> None:
        self.xp = xp
        self.device = device
        self.name = name
        self.options: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Backend._maker, (self.name, self.options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a backend represents a device, and stores no results

    def __repr__(self) -> str:
        return f"<gpunn backend {self.name!r}>"

    # ------------------------------------------------------------------ placement and transfer

    def describe(self) -> dict[str, str]:
        """Return the backend's name, device and library version, to store with a run.

        Returns
        -------
        dict of str to str
            The keys are "backend", "device", "library", and any keys that the backend adds.
        """
        version = getattr(self.xp, "__version__", "unknown")
        return {"backend": self.name, "device": str(self.device), "library": str(version)}

    def algorithms(self) -> dict[str, str]:
        """Return the algorithms that this backend selected by timing, as JSON types.

        The algorithms affect rounding, so they are part of the training state.

        Returns
        -------
        dict of str to str
            Empty by default.
        """
        return {}

    def restore_algorithms(self, algorithms: Mapping[str, str]) -> None:
        """Use the algorithms that `algorithms` returned in this process or another process.

        Algorithms of another device or library version are ignored with a warning.

        Parameters
        ----------
        algorithms : mapping of str to str
            The algorithms to use.
        """

    def dtype(self, name: str) -> Any:
        """Return the namespace's data type with a given name.

        Parameters
        ----------
        name : str
            The name, such as "float32".

        Returns
        -------
        dtype
            The data type, for functions of the namespace.
        """
        return getattr(self.xp, name)

    def dtype_name(self, array: Array) -> str:
        """Return the name of an array's data type.

        Parameters
        ----------
        array : array
            An array on the device.

        Returns
        -------
        str
            The name, such as "float32".
        """
        return str(array.dtype).rpartition(".")[2]

    def zeros(self, shape: Shape, dtype: str) -> Array:
        """Return a new array of zeros.

        Parameters
        ----------
        shape, dtype : tuple of int, str
            The shape, and the name of the data type.

        Returns
        -------
        array
            An array on the device.
        """
        return self.xp.zeros(shape, dtype=self.dtype(dtype), device=self.device)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        """Copy a host array to the device, converted to `dtype` if given, and return the copy.

        If the device is the host and no conversion is needed, the result may share the memory of
        `array`.

        Parameters
        ----------
        array, dtype : array, str or None
            The host array, and the name of the result's data type (by default the array's type).

        Returns
        -------
        array
            An array on the device.
        """
        host = np.asarray(array, dtype=dtype, order="C")
        return self.xp.asarray(host, device=self.device)

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        """Copy a host array into a device array, converting its data type.

        Parameters
        ----------
        array, out : array
            The host array, and the device array to change in place, of equal shapes.
        """
        host = np.asarray(array, dtype=self.dtype_name(out))
        out[...] = self.xp.asarray(host, device=self.device)

    def stager(self) -> Stager:
        """Return an object that copies chunks of host data to the device one by one.

        Returns
        -------
        Stager
            A stager for one data set.
        """
        return Stager(self)

    def to_host(self, array: Array) -> np.ndarray:
        """Wait for the device, and return a copy of a device array as a NumPy array.

        Parameters
        ----------
        array : array
            An array on the device.

        Returns
        -------
        ndarray
            A host array of the same shape and type.
        """
        return np.array(np.from_dlpack(array, device="cpu"), copy=True)

    def copy_to_host(self, array: Array, out: np.ndarray) -> None:
        """Wait for the device, and copy a device array into a NumPy array.

        Parameters
        ----------
        array, out : array, ndarray
            The device array, and the host array to change in place, of equal shapes.
        """
        out[...] = self.to_host(array)

    def copy_to(self, array: Array, out: Array) -> None:
        """Copy a device array into another device array, converting the data type.

        Parameters
        ----------
        array, out : array
            Device arrays of the same shape; `out` is changed in place.
        """
        out[...] = array

    def overlap(self, first: Array, second: Array) -> bool:
        """Return whether two arrays may share memory; True if this is unknown.

        Parameters
        ----------
        first, second : array
            Arrays on the device.

        Returns
        -------
        bool
            Whether the arrays may share memory; always True in the base class.
        """
        return True

    def synchronize(self) -> None:
        """Wait until the device has finished the work that this thread has submitted."""

    def free_memory(self) -> int | None:
        """Return the free memory of a device, or None if the device uses the host's memory.

        Returns
        -------
        int or None
            Free memory in bytes; always None in the base class.
        """
        return None

    def device_errors(self) -> AbstractContextManager[None]:
        """Return a context that converts errors of the device to errors of gpunn.

        Returns
        -------
        context manager
            A context that raises a `DeviceMemoryError` if the device lacks memory, and a
            `DeviceError` if the device fails. In the base class, the context does nothing.
        """
        return nullcontext()

    def release_memory(self) -> None:
        """Free memory that the backend keeps for reuse, so that other programs can use it."""

    def nbytes(self, array: Array) -> int:
        """Return the size of an array's elements in bytes.

        Parameters
        ----------
        array : array
            An array on the device.

        Returns
        -------
        int
            The size in bytes, excluding memory between the elements of a view.
        """
        return int(array_api_compat.size(array) or 0) * np.dtype(self.dtype_name(array)).itemsize

    def total(self, arrays: Sequence[Array], out: Array) -> None:
        """Compute the sum of all numbers in several vectors, without waiting for the device.

        Parameters
        ----------
        arrays : sequence of array, shapes (n,)
            Vectors on the device, of one floating-point type.
        out : array, shape (1,)
            The sum, which is not finite if a number is infinite or NaN, or if a sum overflows.
        """
        sums = self.zeros((len(arrays),), self.dtype_name(arrays[0]))
        for index, array in enumerate(arrays):
            self.sum(array, sums[index : index + 1])
        self.sum(sums, out)

    # ------------------------------------------------------------------------------ recording

    def row_orders(self, seed: int, epochs: range, rows: int) -> HostArray:
        """Return the results of `gpunn.randomness.permutation` for several epochs, on the host.

        Parameters
        ----------
        seed : int
            The run's seed.
        epochs : range
            Numbers of the epochs, at least one.
        rows : int
            Number of rows.

        Returns
        -------
        ndarray of int64, shape (epochs, rows)
            Row numbers.
        """
        return np.stack([permutation(seed, epoch, rows) for epoch in epochs])

    @property
    def joins_recordings(self) -> bool:
        """Whether `sequence` can join functions. If False, `sequence` returns None."""
        return False

    def sequence(
        self, parts: Sequence[tuple[Callable[[int], None], int]], times: int = 1
    ) -> Repeated | None:
        """Join several recorded functions, so that one call runs all of them.

        Parameters
        ----------
        parts : sequence of (function, int)
            Results of `recorded`, and how often to run each function.
        times : int
            The maximum number of times that one call runs the sequence.

        Returns
        -------
        Repeated or None
            A function whose argument is the number of times to run the sequence. Several threads
            can run different sequences at the same time. The result is None if the backend can't
            run all parts in one call; the base class always returns None.
        """
        return None

    def recorded(self, operations: Callable[[], object]) -> Callable[[int], None]:
        """Record operations, and return a function that runs them a given number of times.

        This method calls the function `operations` once, and records its operations without running
        them. Other computations in the function run during the recording, and are not repeated. To
        repeat any other function, use the operation `call`.

        Parameters
        ----------
        operations : function
            A function without parameters, which calls operations of this backend; its return value
            is ignored.

        Returns
        -------
        function
            A function whose argument is the number of times to run the operations.

        Raises
        ------
        ArgumentError
            If an operation belongs to another backend.
        """
        with COLLECTION.pause():
            return self.lower(record(operations, self))

    def lower(self, trace: Trace) -> Callable[[int], None]:
        """Return a function that runs the operations of a trace a given number of times.

        Except for rounding, the results are as if the operations ran one by one.

        Parameters
        ----------
        trace : list of Operation
            The recorded operations.

        Returns
        -------
        function
            A function whose argument is the number of times to run the operations.
        """

        def repeat(times: int) -> None:
            for _ in range(times):
                for one in trace:
                    self.perform(one)

        return repeat

    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        """Record a function of an array with the shape and type of `x`.

        As in `recorded`, the function must run the same operations on the same arrays each time.
        Each call of the returned function overwrites the array that the previous call returned.

        Parameters
        ----------
        function : function
            A function from an array to an array.
        x : array
            An example of the argument; its values do not matter.

        Returns
        -------
        function
            A function that runs the recorded operations on its argument, and returns the result.
        """
        x_buffer, results = self.copy(x), list[Array]()
        run = self.recorded(lambda: results.append(function(x_buffer)))

        def call(argument: Array) -> Array:
            x_buffer[...] = argument
            run(1)
            return results[0]

        return call

    def computing(self) -> AbstractContextManager[None]:
        """Return a context for running operations that are not recorded.

        In the context, the device may treat subnormal numbers as zero, as in recorded operations.

        Returns
        -------
        context manager
            A context that admits one thread at a time.
        """
        return TURNS

    def queue(self) -> AbstractContextManager[object]:
        """Return a context in which a thread's work runs in parallel to other threads' work.

        Several threads may use the same context in turn, but not at the same time. A thread leaves
        the context only after the thread's work has finished.

        Returns
        -------
        context manager
            The context, which does nothing if the backend computes in the calling thread.
        """
        return nullcontext()

    def needs_loss_scale(self, dtype: str) -> bool:
        """Return whether small gradients can underflow in products of this data type.

        If gradients can underflow, they are computed from a scaled loss (Micikevicius et al. 2018,
        "Mixed Precision Training", section 3.2).

        Parameters
        ----------
        dtype : str
            The network's data type.

        Returns
        -------
        bool
            Always False in the base class.
        """
        return False
