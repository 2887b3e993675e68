"""Errors of the emulator: mistakes that would fail on a GPU, and missing features."""


class EmulatorError(Exception):
    """Base class of the emulator's errors."""


class UnsupportedError(EmulatorError, NotImplementedError):
    """The program used a part of CUDA that is not emulated."""


class InvalidAccessError(EmulatorError):
    """Device memory was accessed outside live allocations, or after it was freed."""

    status = 700  # cudaErrorIllegalAddress: what CUDA calls it, where errors come late


class WrongDeviceError(InvalidAccessError):
    """An operand is on another device than the operation."""


class KernelFault(EmulatorError):  # noqa: N818 - a fault is what CUDA calls it
    """A kernel stopped: divergent barrier, failed assertion, or impossible launch."""

    status = 719  # cudaErrorLaunchFailure


class FailedAssertion(KernelFault):
    """A kernel stopped at an assertion."""

    status = 710  # cudaErrorAssert


class CollectiveError(EmulatorError):
    """The ranks of an NCCL communicator made different calls, or a rank is missing."""


class RaceError(EmulatorError):
    """Memory was reused while earlier work may still use it."""
