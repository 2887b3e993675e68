"""Matrix products: CuPy's wrapper, and a separate handle, on the emulated cuBLAS."""

import ctypes

import cupy
import emulated_cuda
import numpy as np
import pytest

pytestmark = pytest.mark.full  # what it computes changes with the emulator alone

HOST, DEVICE = 0, 1


class Blas:
    """A cuBLAS handle without CuPy's wrapper, which code needs to capture products."""

    def __init__(self, stream=None, workspace=1 << 12):
        from cuda.pathfinder import load_nvidia_dynamic_lib

        self.library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
        self.handle = ctypes.c_void_p()
        assert self.library.cublasCreate_v2(ctypes.byref(self.handle)) == 0
        if stream is not None:
            pointer = ctypes.c_void_p(stream.ptr)
            assert self.library.cublasSetStream_v2(self.handle, pointer) == 0
        if workspace:
            self.workspace = cupy.empty(workspace, "uint8")
            status = self.library.cublasSetWorkspace_v2(
                self.handle, ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(workspace)
            )
            assert status == 0

    def gemm(self, a, b, out, alpha=1.0, beta=0.0, lda=None, compute=68, scalars=None):
        """out = alpha a b + beta out for C-contiguous float32 (out' = b' a', column-major)."""
        (m, k), n = a.shape, b.shape[1]
        hosts = (ctypes.c_float(alpha), ctypes.c_float(beta))
        alpha, beta = scalars or map(ctypes.byref, hosts)
        return self.library.cublasGemmEx(
            *(self.handle, 0, 0, n, m, k, alpha),
            *(ctypes.c_void_p(b.data.ptr), 0, n, ctypes.c_void_p(a.data.ptr), 0, lda or k),
            *(beta, ctypes.c_void_p(out.data.ptr), 0, n, compute, -1),
        )


def test_device_scalars_need_the_device_pointer_mode(rng, capsys):
    a = cupy.asarray(rng.random((2, 2), dtype="float32"))
    scalars = cupy.asarray(np.float32([3, 0]))
    pointers = [ctypes.c_void_p(scalars[i:].data.ptr) for i in range(2)]
    out, blas = cupy.empty((2, 2), "float32"), Blas()
    assert blas.gemm(a, a, out, scalars=pointers) != 0
    assert "pointer mode" in capsys.readouterr().err
    assert blas.library.cublasSetPointerMode_v2(blas.handle, DEVICE) == 0
    assert blas.gemm(a, a, out, scalars=pointers) == 0
    np.testing.assert_allclose(out.get(), 3 * a.get() @ a.get(), rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "options", "workspace", "status", "said"),
    [
        (4, {"lda": 2}, True, 7, "leading dimension"),
        (2, {}, True, 13, "pass the end"),
        (4, {}, False, 13, "float32, workspace: "),
    ],
    ids=["a leading dimension too small", "an output too small", "a workspace given back"],
)
def test_what_is_refused(capfd, rows, options, workspace, status, said):
    a, out, blas = cupy.ones((4, 4), "float32"), cupy.empty((rows, 4), "float32"), Blas()
    if not workspace:
        del blas.workspace
    assert blas.gemm(a, a, out, **options) == status
    assert said in capfd.readouterr().err


def test_tf32_is_seen_and_rounded(rng):
    a = cupy.asarray(rng.random((16, 16), dtype="float32"))
    single, tf32 = cupy.empty_like(a), cupy.empty_like(a)
    with emulated_cuda.counters() as counts:
        Blas().gemm(a, a, single)
        Blas().gemm(a, a, tf32, compute=77)
    assert counts.matmuls == {"float32": 1, "tf32": 1}
    difference = abs(single - tf32).max() / abs(single).max()
    assert 1e-6 < float(difference) < 1e-3


def test_cupys_own_wrapper_refuses_capture():
    a = cupy.ones((2, 2), "float32")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(NotImplementedError):
            a @ a
        stream.end_capture()


def test_a_handle_is_set_anew_to_a_stream_that_has_got_the_address_of_another(capfd):
    a, out = cupy.ones((2, 2), "float32"), cupy.empty((2, 2), "float32")
    stream = cupy.cuda.Stream()
    blas, address = Blas(stream), stream.ptr
    assert blas.gemm(a, a, out) == 0
    del stream
    again = cupy.cuda.Stream()
    assert again.ptr == address
    assert blas.gemm(a, a, out) != 0
    assert "another one has got its address" in capfd.readouterr().err
    assert blas.library.cublasSetStream_v2(blas.handle, ctypes.c_void_p(again.ptr)) == 0
    assert blas.gemm(a, a, out) == 0


def test_a_handle_that_is_destroyed_in_a_capture_spoils_it(capfd):
    """Destroying a handle waits for the device."""
    blas, stream = Blas(), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        assert blas.library.cublasDestroy_v2(blas.handle) != 0
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()
    assert "StreamCaptureUnsupported" in capfd.readouterr().err
