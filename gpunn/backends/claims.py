"""Ensure that only one of several related processes shows a message."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket

HELD: dict[str, int] = {}
"""File descriptors of claims, by name; the system closes them when the process ends."""


def claim(subject: str) -> bool:
    """Return whether this process, of all processes in its tree, should show a message.

    A process and its workers (of multiprocessing or joblib) form a tree. The first process that
    calls this function gets True. All other processes get False until the first process ends.

    Notes
    -----
    A claim is the name of an abstract Unix socket, which only one process can bind. The operating
    system frees the claim when its process ends, so no file remains. Only Linux has abstract
    sockets. On other systems, each process gets True.
    """
    parent = multiprocessing.parent_process()
    root = os.getpid() if parent is None else parent.pid
    name = f"\0gpunn-{subject}-{root}"
    if name in HELD:
        return True
    if not hasattr(socket, "AF_UNIX"):
        return True
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(name)
    except OSError as error:
        holder.close()
        return error.errno != errno.EADDRINUSE
    HELD[name] = holder.detach()
    return True
