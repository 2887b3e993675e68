"""Memory that is reused while work may still use it, and streams with reused handles."""

from contextlib import nullcontext

import cupy
import emulated_cuda
import numpy as np
import pytest
from cupy_backends.cuda.libs import cublas

SIZE = 1000


@pytest.fixture
def side():
    return cupy.cuda.Stream(non_blocking=True)


def used(stream):
    """Return an array of the default stream that another stream has used."""
    x = cupy.zeros(SIZE, "float32")
    stream.wait_event(cupy.cuda.get_current_stream().record())
    with stream:
        x += 1
    return x


WAITS = {
    "event that the stream waits for": lambda side: cupy.cuda.get_current_stream().wait_event(
        side.record()
    ),
    "event that the host waits for": lambda side: side.record().synchronize(),
    "event that is over": lambda side: side.record().done,
    "stream": lambda side: side.synchronize(),
    "stream that is over": lambda side: side.done,
    "device": lambda side: cupy.cuda.Device().synchronize(),
    "cuBLAS handle that is destroyed": lambda side: cublas.destroy(cublas.create()),
    "blocking stream": None,
}


@pytest.mark.parametrize("wait", WAITS)
def test_memory_may_be_taken_after_a_wait(wait, pool):
    """It is also legal if the default stream reuses it after an implicit wait."""
    side = cupy.cuda.Stream(non_blocking=WAITS[wait] is not None)
    x = used(side)
    if WAITS[wait] is not None:
        WAITS[wait](side)
    address = x.data.ptr
    del x
    assert cupy.zeros(SIZE, "float32").data.ptr == address


@pytest.mark.parametrize("size", [SIZE, SIZE // 2])
def test_memory_may_not_be_taken_without(size, pool, side):
    x = used(side)
    address = x.data.ptr
    del x
    taken = cupy.empty(size, "float32")
    assert taken.data.ptr == address
    with pytest.raises(emulated_cuda.RaceError, match="another stream may still use it"):
        taken += 1
    side.synchronize()
    taken += 1


def test_the_rest_of_memory_that_was_taken_in_part_may_not_be_taken_either(pool, side):
    x = used(side)
    del x
    first = cupy.empty(SIZE // 2, "float32")
    second = cupy.empty(SIZE // 4, "float32")
    for taken in (second, first):
        with pytest.raises(emulated_cuda.RaceError):
            taken += 1


def test_a_later_event_says_nothing_of_what_came_after_it(pool, side):
    x, y = used(side), used(side)
    event = side.record()
    with side:
        y += 1
    cupy.cuda.get_current_stream().wait_event(event)
    addresses = [x.data.ptr, y.data.ptr]
    del x, y
    taken = {each.data.ptr: each for each in (cupy.empty(SIZE, "float32") for _ in range(2))}
    taken[addresses[0]] += 1
    with pytest.raises(emulated_cuda.RaceError):
        taken[addresses[1]] += 1


def test_memory_given_back_to_cuda_is_waited_for(pool, side):
    x = used(side)
    del x
    pool.free_all_blocks()
    taken = cupy.zeros(SIZE, "float32")
    assert not taken.get().any()


def test_memory_given_back_to_cuda_is_waited_for_on_its_own_device(pool, side):
    with cupy.cuda.Device(1):
        elsewhere = cupy.cuda.runtime.malloc(1)
    x = used(side)
    del x
    cupy.cuda.runtime.free(elsewhere)
    taken = cupy.empty(SIZE, "float32")
    with pytest.raises(emulated_cuda.RaceError):
        taken += 1


def test_a_graph_that_is_destroyed_may_still_use_its_memory(pool, side):
    """Destroying a graph is legal; reusing memory of its last launch is not."""
    x = cupy.zeros(SIZE, "float32")
    cupy.cuda.get_current_stream().synchronize()
    with side:
        side.begin_capture()
        x += 1
        graph = side.end_capture()
        graph.launch()
    del graph, x
    taken = cupy.empty(SIZE, "float32")
    with pytest.raises(emulated_cuda.RaceError):
        taken += 1


@pytest.mark.parametrize("waits", [False, True])
def test_page_locked_memory_is_given_back_after_a_copy_alone(waits, side):
    x = cupy.zeros(SIZE, "float32")
    cupy.cuda.get_current_stream().synchronize()
    staged = np.frombuffer(cupy.cuda.alloc_pinned_memory(x.nbytes), x.dtype, x.size)
    x.set(staged, stream=side)
    if waits:
        side.record().synchronize()
    del staged
    refused = pytest.raises(emulated_cuda.RaceError, match="page-locked")
    with nullcontext() if waits else refused:
        x += 1
    side.synchronize()


def test_a_stream_gets_the_address_of_the_last_that_was_destroyed(pool):
    """CuPy's pool identifies streams by handle, so a new stream gets the memory of the old one."""
    side = cupy.cuda.Stream(non_blocking=True)
    address = side.ptr
    with side:
        x = cupy.zeros(SIZE, "float32")
    del x, side
    again = cupy.cuda.Stream(non_blocking=True)
    assert again.ptr == address
    with again, pytest.raises(emulated_cuda.RaceError):
        cupy.zeros(SIZE, "float32")


POINTERS = cupy.RawKernel(
    'extern "C" __global__ void pointers(const float* x, float* out) { out[0] = x[100]; }',
    "pointers",
)
TICKET = cupy.RawKernel('extern "C" __global__ void ticket(float* x) { x[0] += 0; }', "ticket")


def plus_one(x, out):
    cupy.add(x, 1, out=out)


def through_pointers(x, out):
    POINTERS((1,), (1,), (x, out))


def leaves_a_ticket(x, out):
    TICKET((1,), (1,), (x,))


BRANCHES = {
    "both read": (plus_one, "xy", plus_one, "xz", False),
    "one writes what the other reads": (plus_one, "xy", plus_one, "zx", True),
    "one reads what the other writes": (plus_one, "yx", plus_one, "xz", True),
    "both write": (plus_one, "xz", plus_one, "yz", True),
    "both read through pointers": (through_pointers, "xy", through_pointers, "xz", False),
    "one reads through a pointer": (through_pointers, "xy", plus_one, "zx", True),
    "one writes through a pointer": (through_pointers, "yx", plus_one, "xz", True),
    "both use a ticket": (leaves_a_ticket, "xy", leaves_a_ticket, "xz", True),
}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("name", BRANCHES)
def test_branches_of_a_graph_do_not_use_what_another_writes(name, ordered, side):
    first, in_side, second, in_main, conflict = BRANCHES[name]
    arrays = {each: cupy.arange(SIZE, dtype="float32") for each in "xyz"}
    main, branch = cupy.cuda.Stream(non_blocking=True), side
    cupy.cuda.get_current_stream().synchronize()
    with main:
        main.begin_capture()
        branch.wait_event(main.record())
        with branch:
            first(*(arrays[each] for each in in_side))
        if ordered:
            main.wait_event(branch.record())
        second(*(arrays[each] for each in in_main))
        main.wait_event(branch.record())
        graph = main.end_capture()
        refused = pytest.raises(emulated_cuda.RaceError, match="in another branch")
        with refused if conflict and not ordered else nullcontext():
            graph.launch()
        main.synchronize()
