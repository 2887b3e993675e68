"""Test which library is loaded, the checks of its files, and training without a library."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from processes import run_python

import gpunn
from gpunn.backends.numpy.compiled import CompiledBackend, files, library, targets
from gpunn.backends.numpy.compiled.building import BuildError, build, builder
from gpunn.backends.numpy.compiled.building import link as linking
from gpunn.backends.numpy.compiled.interface import FIRST_ARG, ROW_SIZE
from gpunn.errors import ArgumentError, InvalidFileError
from gpunn.storage.files import FolderLock

pytest.importorskip("numba")

KERNELS = ("fill", "add")

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs the owners and modes of POSIX")


@pytest.fixture(scope="module")
def target():
    return targets.runnable_targets()[0]


@pytest.fixture(scope="module")
def objects(tmp_path_factory, target):
    folder = tmp_path_factory.mktemp("objects")
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "MAX_WORKERS", 1)  # for two kernels
        builder.make_objects(target, folder, lambda *counts: seen.append(counts), KERNELS)
    made = sorted(folder.glob("*.o"))
    assert seen == [(done, len(made)) for done in range(1, len(made) + 1)]
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory, target):
    folder = tmp_path_factory.mktemp("built")
    path = library.library().path
    for each in (path, path.with_name(f"{target.name}.json")):
        shutil.copy(each, folder)
    return folder


@pytest.fixture
def packaged(monkeypatch, tmp_path, built):
    """A copy of the folder that replaces the package's, in a process without a loaded library."""
    folder = shutil.copytree(built, tmp_path / "package" / "built")
    monkeypatch.setattr(files, "PACKAGED", folder)
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "cache"))
    library.library.cache_clear()
    yield folder
    library.library.cache_clear()


@pytest.fixture
def builds(monkeypatch, built, target):
    made = []

    def copied(target):
        folder = files.writable_folder()
        made.append(folder)
        shutil.copytree(built, folder, dirs_exist_ok=True)
        return files.read(folder, target)[0]

    monkeypatch.setattr("gpunn.backends.numpy.compiled.building.build", copied)
    return made


@pytest.fixture
def no_numba(monkeypatch):
    find = library.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "numba" else find(name)
    )


def run(loaded):
    out = np.zeros(1000, np.float32)
    two = np.float64(2).view(np.int64)
    table = np.zeros((2, ROW_SIZE), np.int64)
    kernels = [loaded.address(name, "float32") for name in ("fill", "add")]
    table[:, :FIRST_ARG] = [(kernel, 1, 1, 1) for kernel in kernels]
    table[0, FIRST_ARG:][:3] = out.ctypes.data, out.size, two
    table[1, FIRST_ARG:][:3] = out.ctypes.data, out.ctypes.data, out.size
    mailbox = np.zeros(64, np.int64)
    loaded.run_as_leader(table.ctypes.data, 2, 1, 1, mailbox.ctypes.data, 0)
    return out


def test_a_library_is_loaded_and_runs(packaged, target):
    loaded = library.library()
    assert loaded.path.parent == packaged
    assert loaded.target == target
    assert (run(loaded) == 4).all()


@pytest.mark.full  # compiling the objects takes seconds
def test_without_a_linker_llvm_links_in_memory(objects, tmp_path, target, monkeypatch):
    monkeypatch.setattr(linking, "linkers", list)
    path = files.write(tmp_path, target, *linking.link(objects))
    assert path.suffix == ".zip"
    assert (run(library.Library(path, target)) == 4).all()
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.raises(OSError, match="requires the package llvmlite"):
        library.Library(path, target)


def test_a_linker_that_fails_is_as_none(tmp_path, monkeypatch):
    monkeypatch.setattr(linking, "linkers", lambda: ["false"])
    (tmp_path / "a.o").write_bytes(b"object")
    content, suffix = linking.link([tmp_path / "a.o"])
    assert content.startswith(b"PK")
    assert suffix == ".zip"


@posix_only
def test_a_kernel_that_calls_a_missing_function_raises_an_error(tmp_path, monkeypatch):
    linker = tmp_path / "ld"
    linker.write_text(
        "#!/bin/sh\necho 'fill.o: in fill:\nundefined reference to malloc' >&2; exit 1\n"
    )
    linker.chmod(0o755)
    monkeypatch.setattr(linking, "linkers", lambda: [str(linker)])
    with pytest.raises(BuildError, match="in fill: undefined reference"):
        linking.link([tmp_path / "fill.o"])


def test_a_library_needs_no_new_c_library(built):
    if sys.platform != "linux":
        pytest.skip("only glibc has versions")
    (path,) = built.glob("*.so")
    names = set(path.read_bytes().split(b"\0"))
    assert {name for name in names if name.startswith(b"GLIBC_")} <= {b"GLIBC_2.2.5", b"GLIBC_2.17"}


def emptied(content):
    return b""


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 8]) + content[-99:]


@pytest.mark.parametrize("damage", [emptied, cut, flipped])
@pytest.mark.parametrize("suffix", ["so", "json"])
def test_a_torn_file_is_never_loaded(packaged, target, builds, damage, suffix):
    (path,) = packaged.glob(f"*.{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidFileError):
        files.read(packaged, target)
    assert builds == []
    assert library.library().path.parent == packaged  # but built again
    assert builds == [packaged]


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"file": 1, "sha256": "", "sources": ""}', b"\xff", b"[" * 50_000],
)
def test_a_manifest_of_something_else(packaged, target, content):
    (packaged / f"{target.name}.json").write_bytes(content)
    with pytest.raises(InvalidFileError, match="is damaged"):
        files.read(packaged, target)


def test_a_library_whose_file_is_gone(packaged, target, builds):
    (path,) = packaged.glob("*.so")
    path.unlink()
    assert library.library() is not None
    assert builds == [packaged]


def test_changed_sources_are_built_again(packaged, target, builds, monkeypatch):
    monkeypatch.setattr(files, "sources", lambda: "others")
    with pytest.raises(InvalidFileError, match="was built from other sources"):
        files.read(packaged, target)
    problem = library.find_library().problem
    assert "was built from other sources" in problem


@pytest.mark.parametrize(
    "name", ["kernels/team.py", "building/link.py", "targets.py", "../../hashing.py"]
)
def test_a_source_that_changes_is_noticed(tmp_path, monkeypatch, name):
    for path in files.source_files():
        copy = tmp_path / path.relative_to(files.PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    here = tmp_path / files.HERE.relative_to(files.PACKAGE)
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    monkeypatch.setattr(files, "HERE", here)
    before = files.sources.__wrapped__()
    assert before == files.sources()
    with open(here / name, "a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert files.sources.__wrapped__() != before


def test_kernels_import_nothing_whose_changes_go_unnoticed():
    root = files.PACKAGE.parent
    noticed = {path.relative_to(root) for path in files.source_files()}
    packages = {path.parent for path in noticed}
    for path in [*files.HERE.glob("kernels/*.py"), files.HERE / "building" / "objects.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module.startswith("gpunn."):
                continue
            imported = Path(*node.module.split("."))
            assert imported.with_suffix(".py") in noticed or imported in packages, (path, imported)


def test_without_numba_numpy_computes_and_warns_once(packaged, no_numba, caplog):
    shutil.rmtree(packaged)
    assert library.library() is None
    backend = CompiledBackend()
    assert "kernels" not in backend.describe()["library"]
    (record,) = caplog.records
    for part in ("training is slow: no compiled kernels", "times as long", "pip install 'numba"):
        assert part in record.getMessage()
    assert "GPUNN_THREADS=1" in record.getMessage()  # for busy cores
    assert "(the kernels have not been built). Without kernels," in record.getMessage()


def test_a_failed_build_is_reported_and_numpy_computes(packaged, monkeypatch, caplog):
    failing = Mock(side_effect=BuildError("no such instruction"))
    monkeypatch.setattr("gpunn.backends.numpy.compiled.building.build", failing)
    shutil.rmtree(packaged)
    assert library.library() is None
    assert "building them failed: no such instruction" in caplog.text


def test_where_the_package_is_read_only_the_users_folder_has_the_library(
    packaged, builds, monkeypatch, tmp_path
):
    shutil.rmtree(packaged)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != packaged and access(path, mode))
    first = library.library().path.parent
    assert first == tmp_path / "cache" / "kernels" / files.sources()[:16]
    assert first.stat().st_mode & 0o777 == 0o700
    library.library.cache_clear()
    assert library.library().path.parent == first
    assert builds == [first]


@posix_only
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
@pytest.mark.parametrize("which", ["parent", "folder"])
def test_no_code_is_loaded_from_where_others_can_write(packaged, target, monkeypatch, mode, which):
    shutil.rmtree(packaged)
    folder = files.folders()[-1]
    folder.mkdir(mode=0o700, parents=True)
    folder.parent.chmod(0o700)
    (folder if which == "folder" else folder.parent).chmod(mode)
    manifest = {"file": "a.so", "sha256": "", "sources": files.sources()}
    (folder / f"{target.name}.json").write_text(json.dumps(manifest))
    (folder / "a.so").touch()
    monkeypatch.setattr(files, "is_private", lambda found: False)
    with pytest.raises(InvalidFileError, match="other users can write to"):
        files.read(folder, target)


@posix_only
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("which", ["folder", "library", "manifest", "link"])
def test_no_packaged_code_is_loaded_that_others_can_write(
    packaged, target, builds, monkeypatch, tmp_path, which, mode
):
    """gpunn builds in another folder. Without numba, the warning names the file and a remedy."""
    monkeypatch.setattr(files, "is_private", lambda found: False)
    (path,) = packaged.glob({"folder": "../built", "manifest": "*.json"}.get(which, "*.so"))
    path = path.resolve()
    if which == "link":  # the file is safe, but its folder is not
        (tmp_path / "elsewhere").mkdir()
        kept = path.rename(tmp_path / "elsewhere" / path.name)
        path.symlink_to(kept)
        path = kept.parent
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(InvalidFileError, match=f"other users can write to {path}; run: chmod go-w"):
        files.read(packaged, target)
    assert str(path) in library.find_library().problem
    if which == "link":
        return  # the copy writes through links, while `Replacement` replaces them by files
    folder = library.library().path.parent
    assert folder == (files.folders()[-1] if which == "folder" else packaged)
    assert builds == [folder]


@posix_only
@pytest.mark.parametrize("owner", ["another", "the package's"])
def test_owners_of_packaged_code(packaged, target, monkeypatch, owner):
    """The owner of the modules may own their kernels, such as an administrator who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(files, "PACKAGE", packaged if owner != "another" else Path(__file__))
    before = Path.stat
    if owner == "another":

        def stat(path, **options):
            status = before(path, **options)
            return os.stat_result([*status[:4], 4712, *status[5:]]) if path == packaged else status

        monkeypatch.setattr(Path, "stat", stat)
        monkeypatch.setattr(Path, "lstat", lambda path: stat(path, follow_symlinks=False))
        with pytest.raises(InvalidFileError, match=f"{packaged} belongs to another user"):
            files.read(packaged, target)
    else:
        files.read(packaged, target)


@posix_only
@pytest.mark.parametrize(
    ("name", "members", "primary", "is_private"),
    [
        ("ann", [], 100, True),
        ("ann", ["ann"], 100, True),
        ("ann", ["ann", "bob"], 100, False),
        ("users", [], 100, False),
        ("ann", [], 101, False),
        ("ann", [], 0, False),
    ],
)
def test_private_groups(monkeypatch, tmp_path, name, members, primary, is_private):
    """A umask of 002 is usual if each user has a group; then no other user can write."""
    status = os.stat_result([0o100664, 0, 0, 1, 7, 0 if primary == 0 else 100, 0, 0, 0, 0])
    group = types.SimpleNamespace(gr_gid=status.st_gid, gr_name=name, gr_mem=members)
    user = types.SimpleNamespace(pw_name="ann", pw_gid=primary)
    monkeypatch.setattr("grp.getgrgid", lambda number: group)
    monkeypatch.setattr("pwd.getpwuid", lambda number: user)
    assert files.is_private(status) is is_private
    assert bool(files.fault(tmp_path, status, {7})) is not is_private


@posix_only
def test_what_is_written_is_read_whatever_the_umask_is(packaged, target, monkeypatch):
    monkeypatch.setattr(files, "is_private", lambda found: False)
    content = files.read(packaged, target)[0].read_bytes()
    shutil.rmtree(packaged)
    before = os.umask(0)
    try:
        folder = files.writable_folder()
        files.write(folder, target, content, ".so")
    finally:
        os.umask(before)
    assert folder == packaged
    files.read(folder, target)


@posix_only
def test_no_code_is_loaded_from_a_folder_of_another_user(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert "belongs to another user" in files.faults(tmp_path)


@posix_only
def test_a_link_to_a_folder_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert "is not a folder" in files.faults(tmp_path / "link")


def test_another_process_that_builds_is_waited_for(packaged, target, monkeypatch):
    """The other process has built the library, so this one only waits."""
    path = files.read(packaged, target)[0]
    lock = FolderLock(packaged)
    monkeypatch.setattr(builder.time, "sleep", lambda seconds: lock.release())
    assert build(target, packaged) == path
    FolderLock(packaged).release()  # the lock is free again


@pytest.mark.full
def test_two_processes_build_at_once(packaged, target):
    script = (
        "from pathlib import Path\n"
        "from gpunn.backends.numpy.compiled.building import build\n"
        "from gpunn.backends.numpy.compiled.targets import TARGETS\n"
        f"target, folder = TARGETS[{target.name!r}], Path({str(packaged)!r})\n"
        f"print(build(target, folder, only={KERNELS!r}, force=True))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)
    ]
    built = {process.communicate(timeout=600)[0].strip().decode() for process in processes}
    (path,) = built  # the same bytes each time
    assert {each.name for each in packaged.iterdir()} == {Path(path).name, f"{target.name}.json"}


def test_what_a_library_replaces_is_removed(packaged, target):
    (packaged / f"{target.name}-0123.so").write_bytes(b"old")
    (packaged / "other.so").write_bytes(b"of somebody else")
    path = files.write(packaged, target, b"new", ".so")
    left = {each.name for each in packaged.iterdir()}
    assert left == {path.name, f"{target.name}.json", "other.so"}


def test_a_failing_worker_is_reported(tmp_path, target, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(BuildError, match="No module named"):
        builder.make_objects(target, tmp_path, lambda *counts: None, KERNELS)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_of_a_worker_that_ends_is_reported(tmp_path, monkeypatch):
    from gpunn.backends.numpy.compiled.building import worker

    own = os.getpid()

    def make():
        if os.getpid() != own:
            os._exit(3)
        while len([*tmp_path.iterdir()]) < 2:
            time.sleep(0.01)
        return b""

    monkeypatch.setattr(worker, "parts", lambda only: {"a": make, "b": make})
    monkeypatch.setattr(worker.gc, "disable", lambda: None)
    with pytest.raises(SystemExit, match="a worker ended with exit status 3"):
        worker.work(str(tmp_path), (), 2)


def test_off_uses_plain_numpy(packaged, monkeypatch, caplog):
    monkeypatch.setenv(targets.VARIABLE, "off")
    assert library.library() is None
    assert not caplog.text


def test_an_unknown_target_is_reported(packaged, monkeypatch):
    monkeypatch.setenv(targets.VARIABLE, "x86-64-v5")
    with pytest.raises(ArgumentError, match="GPUNN_KERNELS: there is no target 'x86-64-v5'; did"):
        gpunn.get_backend("numpy").describe()


def test_a_target_that_this_processor_can_not_run_is_reported(packaged, monkeypatch):
    best = targets.runnable_targets()[0]
    monkeypatch.setenv(targets.VARIABLE, best.name)
    monkeypatch.setattr(library, "runnable_targets", list)
    with pytest.raises(ArgumentError, match=f"can't run kernels for '{best.name}'"):
        library.library()


def test_a_processor_without_kernels(packaged, monkeypatch, caplog):
    monkeypatch.setattr("platform.machine", lambda: "Z80")
    assert library.library() is None
    assert "this processor or system is not supported" in caplog.text
    assert "pip install" not in caplog.text


def test_features_that_numpy_does_not_know_of_are_not_asked_for(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    features = {"AVX2": True, "FMA3": True, "F16C": True, "AVX512F": False}
    monkeypatch.setattr("numpy._core._multiarray_umath.__cpu_features__", features)
    assert [target.name for target in targets.runnable_targets()] == ["x86-64-v3"]
    features["AVX2"] = False
    assert targets.runnable_targets() == []
    monkeypatch.delattr("numpy._core._multiarray_umath.__cpu_features__")
    assert targets.runnable_targets() == []


TRAINING = """
import numpy as np, gpunn
layers = [gpunn.layers.Dense(70, "gelu"), gpunn.layers.BatchNorm(), gpunn.layers.Dense(3)]
model = gpunn.Sequential(layers, (20,), gpunn.get_backend("numpy", threads=2), seed=1)
print(model.backend.describe()["library"])
X = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(1e-2))
trainer.fit(X, np.arange(300) % 3, epochs=3, batch_size=64, progress=False)
np.save("parameters.npy", np.concatenate([v.ravel() for v in model.parameters.to_host().values()]))
"""


@pytest.mark.full
def test_a_lower_target_trains_to_the_same_numbers(tmp_path):
    results = []
    for target in targets.runnable_targets():
        for _ in range(2):
            environment = {**os.environ, targets.VARIABLE: target.name}
            done = run_python("-c", TRAINING, cwd=tmp_path, env=environment)
            assert f"kernels for {target.name}" in done.stdout
            results.append(np.load(tmp_path / "parameters.npy"))
        assert (results[-1] == results[-2]).all()
    for result in results:
        np.testing.assert_allclose(result, results[0], rtol=1e-4, atol=1e-5)
