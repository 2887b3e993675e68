"""The sources of the kernels, which numba compiles. Programs refer to kernels by name."""
