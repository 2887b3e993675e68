"""CUDA sources of the operations, one file for each subject.

There are two kinds of kernels. A `cupy.ElementwiseKernel` is an expression for one element. CuPy
adds loops, broadcasting and strides, so an elementwise kernel accepts arrays of any layout. In a
raw kernel (see `raw`), threads cooperate, for example on a sum over rows. A raw kernel accepts
contiguous row-major arrays. `gpunn.backends.operations` defines the shapes of arrays, unless a
docstring states other shapes. Sizes count elements, not bytes. Each function in this package that
has the argument `op` computes an operation. If it needs no scratch memory, it returns its launches;
otherwise, it launches kernels on the current stream. No function waits for the device.

CuPy compiles a kernel at its first launch with each data type, and stores the result on disk.

The order of a sum depends only on shapes, and sums use no atomics, so all runs are bitwise
identical. Literals never make a float32 kernel compute in double precision: integers have no
decimal point, and fractions are written as `(T)0.5`. CuPy compiles with `-ftz=true`: float32
numbers below 1.2e-38 become zero. The compiler may round a * b + c only once, unlike for CPU
kernels.
"""
