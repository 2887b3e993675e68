"""Processes that train one network together.

`communicator` connects the processes that a launcher started together. Pass the communicator to a
`gpunn.Trainer`; then all processes train its network together.
"""

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.launch import communicator
from gpunn.distributed.threads import ThreadCommunicator, run_threads

__all__ = ["Communicator", "ThreadCommunicator", "communicator", "run_threads"]
