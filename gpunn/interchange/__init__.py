"""Networks for, and from, other programs: ONNX, scikit-learn, PyTorch.

Each module imports the other program's package, if it needs one at all, when it is first used.
"""

from gpunn.interchange.onnx import save_onnx, to_onnx
from gpunn.interchange.scikit_learn import from_sklearn, to_sklearn
from gpunn.interchange.torch import load_state_dict, save_state_dict, state_dict, torch_code

__all__ = [
    "from_sklearn",
    "load_state_dict",
    "save_onnx",
    "save_state_dict",
    "state_dict",
    "to_onnx",
    "to_sklearn",
    "torch_code",
]
