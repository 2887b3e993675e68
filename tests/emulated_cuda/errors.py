"""What the emulator raises when a program does something a GPU would punish, or that it lacks."""


class EmulatorError(Exception):
    """Base class of everything the emulator itself raises."""


class UnsupportedError(EmulatorError, NotImplementedError):
    """The program asked for a part of CUDA that is not emulated."""


class InvalidAccessError(EmulatorError):
    """Device memory was touched outside live allocations, or after it was given back."""

    status = 700  # cudaErrorIllegalAddress: what CUDA calls it, where errors come late


class WrongDeviceError(InvalidAccessError):
    """An operand lives on another device than the one that runs the operation."""


class KernelFault(EmulatorError):  # noqa: N818 - a fault is what CUDA calls it
    """A kernel stopped: divergent barrier, failed assertion, or impossible launch."""

    status = 719  # cudaErrorLaunchFailure


class FailedAssertion(KernelFault):
    """A kernel stopped at an assertion."""

    status = 710  # cudaErrorAssert


class CollectiveError(EmulatorError):
    """What the ranks of a NCCL communicator ask for does not fit together, or one did not come."""


class RaceError(EmulatorError):
    """Memory was taken by others while work that uses it may still run."""
