"""Who says what is to be said once, where several processes work side by side."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket

__all__ = ["claim"]

HELD: dict[str, int] = {}
"""File descriptors of the claims of this process, by name; they end with it."""


def claim(subject: str) -> bool:
    """Return whether it is up to this process to say something, and not to another of its tree.

    A process and its workers (of multiprocessing or joblib) are a tree. The first of them to ask
    is the one, as long as it lives.

    Notes
    -----
    A claim is the name of an abstract Unix socket, which the kernel gives to one process and takes
    back when that ends: no file is left behind. Where there are none (outside Linux), it is up to
    every process.
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
