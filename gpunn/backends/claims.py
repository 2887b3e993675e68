"""Messages that several processes side by side should show once."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket

__all__ = ["claim"]

HELD: dict[str, int] = {}
"""File descriptors of the claims of this process, by name; they end with it."""


def claim(subject: str) -> bool:
    """Return whether this process, of all in its tree, is the one to say something.

    A process and its workers (of multiprocessing or joblib) are a tree. The first of them that asks
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
