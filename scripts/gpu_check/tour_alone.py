"""The tour by itself, each array in an allocation of its own, so that its bounds can be checked."""

import device

device.prepare()

import cupy  # noqa: E402
from steps import tour  # noqa: E402

cupy.cuda.set_allocator(None)
print(tour.run())
