"""Export to ONNX and source code, and conversion from and to scikit-learn and PyTorch."""

from gpunn.interchange.onnx import save_onnx, to_onnx
from gpunn.interchange.predictor.int8 import Int8Network
from gpunn.interchange.predictor.save import save_c, save_python
from gpunn.interchange.scikit_learn import from_sklearn, to_sklearn
from gpunn.interchange.torch import load_state_dict, save_state_dict, state_dict, torch_code

__all__ = [
    "Int8Network",
    "from_sklearn",
    "load_state_dict",
    "save_c",
    "save_onnx",
    "save_python",
    "save_state_dict",
    "state_dict",
    "to_onnx",
    "to_sklearn",
    "torch_code",
]
