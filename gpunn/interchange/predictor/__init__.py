"""Export networks as source code that predicts without gpunn."""
