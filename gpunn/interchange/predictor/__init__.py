"""Networks as source code that predicts without gpunn."""
