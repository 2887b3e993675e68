"""The kernels' sources, which numba compiles. What runs them knows them by name alone."""
