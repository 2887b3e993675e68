"""Processes that train one network together.

`communicator` connects the processes that a launcher started together. Pass the communicator to a
`gpunn.Trainer`, which then trains on all processes as it would on one process.
"""

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.launch import communicator
from gpunn.distributed.threads import ThreadCommunicator, run_threads

__all__ = ["Communicator", "ThreadCommunicator", "communicator", "run_threads"]
