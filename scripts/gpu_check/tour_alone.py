"""The tour by itself, each array in an allocation of its own, so that its bounds can be checked.

With the name of a sanitizer's tool as its argument it plants an error instead, which this tool must
find: tour_alone.py [TOOL].
"""

import sys

import device

device.prepare()

import cupy  # noqa: E402
from steps import tour  # noqa: E402

PLANTED = {
    "memcheck": """
extern "C" __global__ void gpunn_planted(float* x) { x[threadIdx.x + 1] = 1; }
""",
    "racecheck": """
extern "C" __global__ void gpunn_planted(float* x) {
  __shared__ float shared[64];
  shared[threadIdx.x] = threadIdx.x;  // and no barrier
  if (threadIdx.x == 0) x[0] = shared[63];
}
""",
}
THREADS = {"memcheck": 1, "racecheck": 64}

cupy.cuda.set_allocator(None)
if sys.argv[1:]:
    tool = sys.argv[1]
    kernel = cupy.RawKernel(PLANTED[tool], "gpunn_planted")
    kernel((1,), (THREADS[tool],), (cupy.zeros(1, cupy.float32),))
    cupy.cuda.runtime.deviceSynchronize()
else:
    with tour.compiled_sources() as sources:
        print(tour.run())
    print(f"kernels of gpunn: {sum('gpunn_' in source for source in sources)}")
