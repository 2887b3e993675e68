"""Opens files from untrusted sources: only regular files, and lines of bounded length.

A path may lead to an endless device, a pipe without a writer, or a sparse file of 20 GB. Every
reader in gpunn opens its file with this module.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from gpunn.errors import ArgumentError, ArgumentTypeError, FileAccessError, InvalidFileError
from gpunn.rows.lines import MAX_LINE

KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def checked_path(path: Any, argument: str = "path") -> str:
    try:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError
    except TypeError:
        raise ArgumentTypeError(f"{argument}: expected a file name; got {path!r}") from None
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ArgumentError(
            f"{argument}: {text!r} has a character that no file name can have; remove it"
        )
    return text


def open_file(path: str | os.PathLike[str], invalid: type[InvalidFileError]) -> BinaryIO:
    path = checked_path(path)
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    except OSError as error:
        # The system itself refuses to open a socket.
        if (kind := _kind(path)) is None:
            raise FileAccessError(error.errno, explanation(error, path), path) from error
    else:
        kind = KINDS.get(stat.S_IFMT(os.fstat(file.fileno()).st_mode))
        if kind is None:
            return cast(BinaryIO, file)
        file.close()
    raise invalid(
        f"{path}: expected a regular file, got {kind}; save the content in a file, and give the "
        "path of that file"
    )


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _kind(path: str) -> str | None:
    try:
        return KINDS.get(stat.S_IFMT(Path(path).stat().st_mode))
    except OSError:
        return None


def read_whole(
    path: str | os.PathLike[str], invalid: type[InvalidFileError], limit: int, what: str
) -> bytes:
    with open_file(path, invalid) as file:
        # `read` allocates the requested number of bytes.
        content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    if len(content) > limit:
        raise invalid(f"{path}: not {what}: larger than {limit:,} bytes")
    return content


def read_lines(path: str | os.PathLike[str], invalid: type[InvalidFileError]) -> Iterator[bytes]:
    with open_file(path, invalid) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise invalid(f"{path}, line {number}: damaged: more than {MAX_LINE:,} bytes")
            yield line


def parsed_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def explanation(error: OSError, path: str | os.PathLike[str]) -> str:
    path = Path(path)
    if error.errno == errno.ENOENT:
        if path.is_symlink():
            return "is a link to a file that does not exist; fix the link"
        if path.parent.exists():
            return f"there is no such file in {path.parent.absolute()}; check the name"
        return f"the folder {path.parent} does not exist; check the path"
    problems = {
        errno.EISDIR: "expected a file, got a folder; give the path of a file in it",
        errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
        errno.EACCES: "permission denied; change the permissions of the file or its folder",
        errno.EPERM: "permission denied; change the permissions of the file or its folder",
        errno.ELOOP: "is a link that leads back to itself; fix the link",
        errno.ENAMETOOLONG: "the name is too long for this system; shorten it",
        errno.EMFILE: "this process has too many files open; close some, or raise `ulimit -n`",
    }
    return problems.get(error.errno or 0, f"cannot be opened: {error.strerror or error}")
