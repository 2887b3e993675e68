"""Builds CUDA sources with NVRTC for real architectures, and reads the result's ELF file.

`python cubins.py GROUPS` builds the sources in the JSON file GROUPS. It needs no device and no
driver. It is a separate process because it imports CuPy without the emulator, which tests must
install first. Reading headers takes longer than building most kernels, so a program has many.
"""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""Options that CuPy adds to a kernel's options."""

ENTRY = re.compile(r"^\.visible \.entry (\w+)\(.*?^}$", re.MULTILINE | re.DOTALL)
"""A kernel in PTX."""

WORKERS = os.cpu_count() or 1

# The header of an ELF64 file: type, machine, version, entry, program and section offsets, ...
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
SYMBOL_TABLE = 2

# Entries of the section .nv.info: a form, an attribute, then a value, or a size and bytes.
SIZED = 4
FRAME_SIZE, REGISTER_COUNT = 0x11, 0x2F


@dataclass(frozen=True)
class Resources:
    registers: int
    frame: int  # bytes of local memory per thread: indexed arrays and spilled registers
    shared: int  # bytes per block


def sections(image: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    header = ELF_HEADER.unpack_from(image)
    if header[0][:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    offset, size, count, names = header[6], header[11], header[12], header[13]
    rows = [SECTION_HEADER.unpack_from(image, offset + k * size) for k in range(count)]
    strings = image[rows[names][4] :]
    for row in rows:
        nobits = row[1] == 8
        content = b"" if nobits else image[row[4] : row[4] + row[5]]
        yield string_at(strings, row[0]), row[1], row[5] if nobits else row[7], content


def string_at(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def attributes(info: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(info):
        form, attribute, value = struct.unpack_from("<BBH", info, position)
        position += 4
        if form == SIZED:
            yield attribute, info[position : position + value]
            position += value


def read_cubin(image: bytes) -> dict[str, Resources]:
    entries = list(sections(image))
    by_name = {name: content for name, _, _, content in entries}
    symbols = [
        string_at(by_name[".strtab"], SYMBOL.unpack_from(content, at)[0])
        for _, kind, _, content in entries
        if kind == SYMBOL_TABLE
        for at in range(0, len(content), SYMBOL.size)
    ]
    numbers: dict[int, dict[str, int]] = {FRAME_SIZE: {}, REGISTER_COUNT: {}}
    for attribute, payload in attributes(by_name[".nv.info"]):
        if attribute in numbers:
            symbol, number = struct.unpack("<II", payload)
            numbers[attribute][symbols[symbol]] = number
    shared = {
        name.removeprefix(".nv.shared."): size
        for name, kind, size, _ in entries
        if name.startswith(".nv.shared.") and kind == 8
    }
    kernels = [
        name.removeprefix(".text.") for name, _, _, _ in entries if name.startswith(".text.")
    ]
    return {
        kernel: Resources(
            numbers[REGISTER_COUNT][kernel], numbers[FRAME_SIZE][kernel], shared.get(kernel, 0)
        )
        for kernel in kernels
    }


@dataclass(frozen=True)
class Job:
    text: str
    options: tuple[str, ...]
    names: tuple[str, ...]
    architecture: str

    @property
    def flags(self) -> tuple[str, ...]:
        return (*self.options, *CUPY_OPTIONS, f"-arch=sm_{self.architecture}")

    def key(self) -> str:
        """Return a hash of all inputs of the result, except the folder of CuPy's headers."""
        flags = [flag for flag in self.flags if not flag.startswith("-I")]
        return hashlib.sha256(
            "\0".join((self.text, *self.names, *flags, toolkit())).encode()
        ).hexdigest()[:32]


class Built(NamedTuple):
    kernels: dict[str, Resources]
    ptx: dict[str, str]


def toolkit() -> str:
    packages = ("cupy-cuda13x", "nvidia-cuda-nvrtc")
    return " ".join(f"{name} {metadata.version(name)}" for name in packages)


def build_sources(
    sources: Iterable[dict[str, Any]], architecture: str, also: Iterable[Job] = ()
) -> list[Built | str]:
    """Build sources, and in the same processes other jobs, which are then in the cache."""
    jobs = [
        Job(source["text"], tuple(source["options"]), tuple(source["names"]), architecture)
        for source in sources
    ]
    built = compile_jobs([*jobs, *also])
    return [built[job] for job in jobs]


def compile_jobs(jobs: list[Job]) -> dict[Job, Built | str]:
    """Build every job that is not in the cache; return the result or errors of each."""
    from emulated_cuda import toolchain  # not in the process that imports CuPy

    folder = toolchain.cache_folder() / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {job: folder / f"{job.key()}.json" for job in jobs}
    missing = [job for job, path in paths.items() if not path.exists()]
    # Importing CuPy takes as long as 20 kernels, and other tests use the other cores meanwhile.
    workers = min(WORKERS, -(-len(missing) // 200))
    parts = [missing[k::workers] for k in range(workers)]
    with tempfile.TemporaryDirectory() as scratch:
        processes = []
        for number, part in enumerate(parts):
            listed = Path(scratch, f"{number}.json")
            listed.write_text(json.dumps(programs(part, paths)))
            processes.append(subprocess.Popen([sys.executable, __file__, str(listed)]))
        codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"cubins.py ended with {codes}")
    return {job: read_result(path) for job, path in paths.items()}


def programs(jobs: Iterable[Job], paths: dict[Job, Path]) -> list[dict[str, Any]]:
    """Describe the programs to build: the kernels of one begin alike and have different names."""
    from emulated_cuda.kernels import COMMENTS, _kernel_names
    from emulated_cuda.toolchain import leading_includes

    used: Counter[Any] = Counter()
    made: dict[Any, dict[str, Any]] = {}
    for job in jobs:
        head, names = leading_includes(job.text), job.names
        kernels = names or _kernel_names(COMMENTS.sub(" ", job.text))
        alike = head, job.flags, names
        number = max(used[alike, kernel] for kernel in kernels)
        used.update({(alike, kernel): number + 1 - used[alike, kernel] for kernel in kernels})
        program = {"head": head, "flags": job.flags, "names": names, "sources": []}
        made.setdefault((alike, number), program)["sources"].append(
            {"text": job.text.removeprefix(head), "kernels": kernels, "path": str(paths[job])}
        )
    return [*made.values()]


def read_result(path: Path) -> Built | str:
    content: dict[str, Any] = json.loads(path.read_text())
    if "errors" in content:
        return str(content["errors"])
    kernels = {name: Resources(**numbers) for name, numbers in content["kernels"].items()}
    return Built(kernels, content["ptx"])


def build(head: str, flags: list[str], names: list[str], sources: list[dict[str, Any]]) -> None:
    """Build sources together, each in a namespace, with CuPy's options; after an error, alone."""
    from cupy.cuda import compiler
    from cupy_backends.cuda.libs import nvrtc

    texts = [
        f'namespace source_{number} {{\n#line 1 "kernel.cu"\n{source["text"]}\n}}\n'
        for number, source in enumerate(sources)
    ]
    text = "".join((head, *texts)) if len(sources) > 1 else head + sources[0]["text"]
    program = compiler._NVRTCProgram(
        text, "kernel.cu", name_expressions=tuple(names) or None, method="cubin"
    )
    try:
        kernels = read_cubin(program.compile(tuple(flags))[0])
    except compiler.CompileException as error:
        for source in sources if len(sources) > 1 else ():
            build(head, flags, names, [source])
        if len(sources) == 1:
            write(sources[0], {"errors": str(error)})
        return
    listing = nvrtc.getPTX(program.ptr).decode()
    ptx = {match[1]: match[0] for match in ENTRY.finditer(listing)}
    for source in sources:
        own = [name for name in kernels if len(sources) == 1 or name in source["kernels"]]
        resources = {name: vars(kernels[name]) for name in own}
        write(source, {"kernels": resources, "ptx": {name: ptx[name] for name in own}})


def write(source: dict[str, Any], result: dict[str, Any]) -> None:
    path = Path(source["path"])
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(result))
    scratch.replace(path)


if __name__ == "__main__":
    for program in json.loads(Path(sys.argv[1]).read_text()):
        build(**program)
