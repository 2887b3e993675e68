"""The tour with each array in a separate allocation, so that a sanitizer can check its bounds.

With the name of a sanitizer's tool, it plants an error that this tool must find instead:
tour_alone.py [TOOL].
"""

import sys

import device

device.prepare()

import cupy  # noqa: E402
import tour  # noqa: E402

PLANTED = {
    "memcheck": "x[threadIdx.x + 64] = 1;",
    "racecheck": """
  __shared__ float shared[64];
  shared[threadIdx.x] = threadIdx.x;  // and no barrier
  if (threadIdx.x == 0) x[0] = shared[63];
""",
}
KERNEL = 'extern "C" __global__ void gpunn_planted(float* x) {{ {} }}'
THREADS = 64

cupy.cuda.set_allocator(None)
if sys.argv[1:]:
    kernel = cupy.RawKernel(KERNEL.format(PLANTED[sys.argv[1]]), "gpunn_planted")
    kernel((1,), (THREADS,), (cupy.zeros(THREADS, cupy.float32),))
    cupy.cuda.runtime.deviceSynchronize()
else:
    sources = set()
    with tour.compiled_sources(lambda source, _: sources.add(source)):
        tour.run()
    print(f"kernels of gpunn: {sum('gpunn_' in source for source in sources)}")
