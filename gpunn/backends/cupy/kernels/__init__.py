"""CUDA source for the operations, one file a subject.

There are two kinds. A `cupy.ElementwiseKernel` is an expression for one element; CuPy adds loops,
broadcasting and strides, so it takes arrays of any layout. A raw kernel (see `raw`) is for threads
that work together, on a sum over rows or columns, and takes contiguous row-major arrays. Shapes are
those that `gpunn.backends.operations` gives for the operation, unless a function says more; sizes
count elements. A function here takes an operation's arguments. Those that need no scratch memory
return launches, the others launch on the current stream; none waits.

CuPy compiles a kernel when it is first launched with some type, and keeps the result on disk.

Sums are done in an order that the shapes alone decide, without atomics, so that two runs agree
bitwise. Literals are written so that nothing in a float32 kernel is computed in double precision:
whole numbers as they are, fractions as `(T)0.5`. CuPy compiles with `-ftz=true`: float32 numbers
below 1.2e-38 count as zero. The compiler may contract a * b + c into one rounding, as it may not
on the CPU.
"""
