"""Building an ONNX graph, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.typing import Shape


class Graph:
    def __init__(self, onnx: Any, dtype: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.label = "schema"  # the beginning of generated names
        self._names = {id(array): name for name, array in arrays.items()}
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}

    @property
    def names(self) -> set[str]:
        return {*self._constants, *(node.name for node in self._nodes)}

    def add(
        self, operator: str, *inputs: str, name: str, domain: str = "", **attributes: Any
    ) -> str:
        self._nodes.append(
            self.onnx.helper.make_node(
                operator, inputs, [name], name=name, domain=domain, **attributes
            )
        )
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.add(operator, *inputs, name=self._unused(), domain=domain, **attributes)

    def constant(self, array: np.ndarray) -> str:
        name = self._names.get(id(array)) or self._unused()
        self._constants[name] = array
        return name

    def _unused(self) -> str:
        return f"{self.label}.{len(self._nodes) + len(self._constants)}"

    def strings(self, values: Sequence[str], name: str) -> str:
        self._constants[name] = np.array(values, dtype=object)
        return name

    def element_type(self, dtype: str) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(
        self,
        *,
        opsets: Mapping[str, int],
        inputs: Mapping[str, tuple[str, Shape]],
        outputs: Mapping[str, tuple[str, Shape]],
        metadata: Mapping[str, str],
    ) -> Any:
        # `opsets` maps domains to the versions of their operators; "" is ONNX's default domain.
        # Inputs and outputs have a dtype and the shape of a row.
        helper = self.onnx.helper

        def declared(values: Mapping[str, tuple[str, Shape]]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, self.element_type(dtype), ["batch", *shape])
                for name, (dtype, shape) in values.items()
            ]

        constants = [
            self.onnx.numpy_helper.from_array(array, name)
            for name, array in self._constants.items()
        ]
        graph = helper.make_graph(
            self._nodes, "gpunn", declared(inputs), declared(outputs), constants
        )
        made = helper.make_model_gen_version(
            graph,
            opset_imports=[
                helper.make_opsetid(domain, version)
                for domain, version in opsets.items()
                if domain in ("", *(node.domain for node in self._nodes))
            ],
            producer_name="gpunn",
        )
        helper.set_model_props(made, dict(metadata))
        return made
