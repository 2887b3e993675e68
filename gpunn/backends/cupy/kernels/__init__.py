"""CUDA sources of the operations, one file for each subject.

There are two kinds of kernels. A `cupy.ElementwiseKernel` is an expression for one element. CuPy
adds loops, broadcasting and strides, so it accepts arrays of any layout. In a raw kernel (see
`raw`) threads cooperate, for example on a sum over rows. It accepts contiguous row-major arrays.
Unless a function says otherwise, `gpunn.backends.operations` defines the shapes; sizes count
elements. A function here receives an operation's arguments. It returns launches if it needs no
scratch memory; otherwise it launches on the current stream. No function waits.

CuPy compiles a kernel at its first launch with a type, and stores the result on disk.

The order of a sum depends only on shapes, and sums use no atomics, so runs agree bitwise. Literals
never make a float32 kernel compute in double precision: integers are plain, and fractions are
written as `(T)0.5`. CuPy compiles with `-ftz=true`: float32 numbers below 1.2e-38 become zero. The
compiler may contract a * b + c into one rounding, which the CPU kernels do not allow.
"""
