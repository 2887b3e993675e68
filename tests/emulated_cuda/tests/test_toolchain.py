"""Builds: the cache, and the use of precompiled headers."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest
from emulated_cuda import toolchain

FLAGS = ("-std=c++20", "-O1", "-w", "-Wl,-Bsymbolic")
SOURCE = 'extern "C" int answer() { return value(); }\n'


def header(number):
    return f"static int value() {{ return {number}; }}\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUNN_EMULATOR_CACHE", str(tmp_path))
    return tmp_path


def answer(number):
    return ctypes.CDLL(str(toolchain.build(SOURCE, FLAGS, header(number))[0])).answer()


def test_a_header_is_part_of_what_is_built(cache):
    assert [answer(1), answer(2), answer(1)] == [1, 2, 1]
    assert len(list(cache.glob("*.so"))) == 2


def test_a_header_is_precompiled_once(cache):
    for text in (SOURCE, f"{SOURCE}int other;\n"):
        toolchain.build(text, FLAGS, header(1))
    assert len(list(cache.glob("*.so"))) == 2
    assert len(list(cache.glob("*.gch"))) == 1


def test_what_two_ask_for_at_once_is_compiled_once(monkeypatch):
    runs, run = [], toolchain._run
    monkeypatch.setattr(toolchain, "_run", lambda *arguments: runs.append(run(*arguments)))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(toolchain.build, SOURCE, FLAGS, header(1)) for _ in range(2)]
    assert asked[0].result() == asked[1].result()
    assert len(runs) == 2  # of the header, and of the source


def test_the_precompiled_form_is_what_the_compiler_reads(monkeypatch):
    of_another = toolchain._precompiled(header(5), ("-fPIC", *FLAGS))
    monkeypatch.setattr(toolchain, "_precompiled", lambda *arguments: of_another)
    assert answer(1) == 5


def test_without_it_the_text_is_read(cache, monkeypatch):
    monkeypatch.setattr(toolchain, "_precompiled", lambda *arguments: cache / "removed.gch")
    assert answer(1) == 1


def test_few_are_kept(cache, monkeypatch):
    monkeypatch.setattr(toolchain, "PRECOMPILED_KEPT", 2)
    made = [toolchain._precompiled(header(number), FLAGS) for number in range(3)]
    assert sorted(cache.glob("*.gch")) == sorted(made[1:])


def test_another_process_may_remove_one_meanwhile(cache, monkeypatch):
    monkeypatch.setattr(toolchain, "PRECOMPILED_KEPT", 1)
    (cache / "listed.gch").symlink_to("removed")
    made = toolchain._precompiled(header(0), FLAGS)
    assert [path for path in cache.glob("*.gch") if path.exists()] == [made]


@pytest.mark.parametrize("header", ["", "int value(;\n"])
def test_an_error_is_the_compilers(header):
    with pytest.raises(toolchain.CompilationError, match="error:"):
        toolchain.build(SOURCE, FLAGS, header)
