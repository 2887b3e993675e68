"""Loss scaling: the device stores the scale, and whether all gradients are finite."""

import cupy

SCALE_LOSS = cupy.ElementwiseKernel(
    "T weight, T scale",
    "T normalizer, int64 finite",
    "normalizer = weight / scale; finite = 1;",
    "gpunn_scale_loss",
)

# Several threads may write the flag at the same time, so the write is atomic. CUDA has this
# operation only for the unsigned type.
UNSCALE = cupy.ElementwiseKernel(
    "raw T scale",
    "T g, raw int64 finite",
    """g /= scale[0];
       if (!isfinite(g)) {
         g = 0;
         atomicExch((unsigned long long*)&finite[0], 0ULL);
       }""",
    "gpunn_unscale",
)

ADJUST_LOSS_SCALE = cupy.ElementwiseKernel(
    "int64 finite, int64 interval, T smallest, T largest",
    "T scale, int64 good_updates, int64 updates",
    """T next = scale;
       long long good = good_updates, count = updates;
       if (!finite) {
         next /= 2;
         good = 0;
         --count;
       } else if (++good >= interval) {
         next *= 2;
         good = 0;
       }
       scale = min(max(next, smallest), largest);
       good_updates = good;
       updates = count;""",
    "gpunn_adjust_loss_scale",
)
