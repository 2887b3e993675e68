"""How far a run's ONNX file is from gpunn, and both from float64, on the run's test rows.

    python -m tests.robustness.onnx_difference RUN

The reference is the same network, from the same float32 parameters, computed by gpunn in float64.
Also compared are gpunn's predictions in batches of another size: what float32 itself leaves open.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import gpunn
from gpunn.config import load_config
from gpunn.experiment.data import load
from gpunn.interchange import to_onnx


def in_float64(model: gpunn.Sequential) -> gpunn.Sequential:
    description = model.config()
    exact = gpunn.Sequential(
        description["layers"], model.input_shape, "numpy", dtype="float64", seed=model.seed
    )
    for name, value in model.parameters.to_host().items():
        exact.parameters[name] = value.astype(np.float64)
    exact.adapted = model.adapted
    return exact


def difference(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    largest = float(np.abs(a.astype(np.float64) - b).max())
    return {"absolute": float(f"{largest:.3g}"), "of_largest": float(f"{largest / size(b):.3g}")}


def size(outputs: np.ndarray) -> float:
    return float(np.abs(outputs).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    test = load(load_config(run / "config.json")).test
    if test is None:
        sys.exit(f"{run}: its data has no test part")
    model = gpunn.load_model(run / "final.safetensors", "numpy")
    X = test.inputs()
    pixels = str(X.dtype) if str(X.dtype) == "uint8" else None
    X = X if pixels else X.astype(model.dtype)
    made = to_onnx(model, encoded=True, input_dtype=pixels, probabilities="softmax")
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    output, probabilities = session.run(["output", "probabilities"], {"input": X})
    ours, exact = model.predict(X), in_float64(model).predict(X)
    figures: dict[str, Any] = {
        "rows": len(X),
        "outputs_up_to": round(size(exact), 1),
        "onnxruntime_and_gpunn": difference(output, ours),
        "gpunn_and_float64": difference(ours, exact),
        "onnxruntime_and_float64": difference(output, exact),
        "gpunn_and_gpunn_in_batches_of_100": difference(model.predict(X, batch_size=100), ours),
        "probabilities": difference(probabilities, softmax(ours)),
        "rows_with_another_class": int((output.argmax(1) != ours.argmax(1)).sum()),
    }
    print(json.dumps(figures, indent=2))
    return 0


def softmax(z: np.ndarray) -> np.ndarray:
    exponential = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


if __name__ == "__main__":
    sys.exit(main())
