"""Processes that train one network together.

`communicator` finds out which processes were started together; a `gpunn.Trainer` that is given it
trains with all of them, as one process would.
"""

from gpunn.distributed.communicator import Communicator
from gpunn.distributed.launch import communicator
from gpunn.distributed.threads import ThreadCommunicator, run_threads

__all__ = ["Communicator", "ThreadCommunicator", "communicator", "run_threads"]
