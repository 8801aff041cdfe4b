"""An ONNX graph while it is made: nodes, constants, and where the channels of every value are.

Files have channels last and ONNX's convolutions have them first. A map, a value of four axes, is kept
with channels first, and is transposed where an operator, an input or an output needs the other order:
once, and not at all where it has one position or one channel. Bits are ±1 in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sbn import bits
from keras_sbn.tflite.reader import TensorInfo

#: The order of axes with channels first, and back.
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)
#: The domain of QONNX's operators.
QONNX = "qonnx.custom_op.general"


class Graph:
    """Nodes and constants.

    Args:
        qonnx: Whether signs, thresholds and binary kernels are QONNX's operators.
    """

    def __init__(self, qonnx: bool) -> None:
        self.qonnx = qonnx
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.same: dict[int, TensorInfo] = {}
        self.constants: dict[int, TensorInfo] = {}
        self._names: dict[str, int] = {}
        self._first: dict[int, str] = {}
        self._last: dict[int, str] = {}
        self._channels: dict[int, int] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    # --- Nodes

    def reserve(self, names: Sequence[str]) -> None:
        """Keeps names of inputs and outputs from being given to others."""
        self._names.update(dict.fromkeys(names, 1))

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node of one output and returns the output's name."""
        from onnx import helper

        output = self._new_name(name)
        if operator in ("BipolarQuant", "MultiThreshold"):
            attributes["domain"] = QONNX
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, values: np.ndarray, name: str) -> str:
        """Adds a constant; equal ones are shared."""
        from onnx import numpy_helper

        values = np.ascontiguousarray(values)
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._shared:
            found = self._shared[key] = self._new_name(name)
            self.initializers.append(numpy_helper.from_array(values, found))
        return self._shared[key]

    def number(self, value: float) -> str:
        """Adds a float constant without axes."""
        return self.constant(np.array(value, np.float32), "number")

    def _new_name(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}:{count}" if count else name

    # --- Values

    def stored(self, tensor: TensorInfo) -> TensorInfo:
        """The tensor whose value a tensor has as well."""
        while id(tensor) in self.same:
            tensor = self.same[id(tensor)]
        return tensor

    def shape(self, tensor: TensorInfo) -> tuple[int, ...]:
        """The shape of a value, channels last; of bits, that of what is packed."""
        tensor = self.stored(tensor)
        if tensor.dtype != "int32":
            return tensor.shape
        return (*tensor.shape[:-1], self._channels[id(tensor)])

    def set(self, tensor: TensorInfo, name: str, first: bool = True, channels: int = 0) -> None:
        """Says what holds a value: with channels first, where it is a map; of bits also how many."""
        maps = self._first if first or len(tensor.shape) != 4 else self._last
        maps[id(tensor)] = name
        if channels:
            self._channels[id(tensor)] = channels

    def first(self, tensor: TensorInfo) -> str:
        """The name of a value; of a map with channels first."""
        return self._in_order(self.stored(tensor), self._first, self._last, _FIRST)

    def last(self, tensor: TensorInfo) -> str:
        """The name of a value with channels last."""
        stored = self.stored(tensor)
        if len(stored.shape) != 4:
            return self.first(stored)
        return self._in_order(stored, self._last, self._first, _LAST)

    def _in_order(
        self, tensor: TensorInfo, wanted: dict[int, str], other: dict[int, str], order: tuple[int, ...]
    ) -> str:
        key = id(tensor)
        if key not in wanted and key not in other:
            values = self.values(tensor)
            return self.constant(values.transpose(order) if values.ndim == 4 else values, tensor.name)
        if key not in wanted:
            shape = self.shape(tensor)
            name = f"{other[key]}/order"
            if shape[3] == 1 or shape[1] * shape[2] == 1:
                turned = np.array(
                    [shape[axis] for axis in _FIRST] if order == _FIRST else shape, np.int64
                )
                wanted[key] = self.node("Reshape", [other[key], self.constant(turned, "shape")], name)
            else:
                wanted[key] = self.node("Transpose", [other[key]], name, perm=list(order))
        return wanted[key]

    def values(self, tensor: TensorInfo, channels: int = 0) -> np.ndarray:
        """A constant as the numbers it stands for; bits, of so many channels, as ±1.

        Raises:
            ValueError: If it is none.
        """
        stored = self.constants.get(id(tensor), tensor)
        found = stored.values()
        if found is None:
            raise ValueError(f"Expected a constant. Received: {tensor.name!r}, which is computed.")
        if channels:
            return bits.unpack(found, channels).astype(np.float32)
        if stored.dtype not in ("int8", "uint8"):
            return found
        scale, zero = stored.scales or (1.0,), stored.zero_points or (0,)
        if len(scale) != 1 or len(zero) != 1:
            raise ValueError(f"Expected one scale. Received: {tensor.name!r} with {len(scale)}.")
        real = np.float32(scale[0]) * (found.astype(np.float32) - np.float32(zero[0]))
        return real.astype(np.float32)

    def kernel(self, values: np.ndarray, name: str, binary: bool) -> str:
        """Adds a kernel, in bytes where that holds it.

        Whole numbers are int8 and cast when the model is loaded; with QONNX a binary kernel is a
        BipolarQuant.
        """
        if binary and self.qonnx:
            scale = self.number(1.0)
            return self.node("BipolarQuant", [self.constant(values, name), scale], f"{name}/binary")
        whole = values.astype(np.int8)
        if not self.qonnx and np.array_equal(whole, values):
            return self.node("Cast", [self.constant(whole, name)], f"{name}/float", to=_FLOAT)
        return self.constant(values.astype(np.float32), name)

    def bipolar(self, x: str, least: np.ndarray | None, name: str) -> str:
        """Adds the sign of a value, or whether its channels, the second axis, are not below `least`."""
        if self.qonnx and least is None:
            return self.node("BipolarQuant", [x, self.number(1.0)], name)
        if self.qonnx and least is not None:
            thresholds = self.constant(least.reshape(-1, 1).astype(np.float32), "thresholds")
            attributes = {"out_scale": 2.0, "out_bias": -1.0, "out_dtype": "BIPOLAR"}
            return self.node("MultiThreshold", [x, thresholds], name, **attributes)
        bound = self.number(0.0)
        if least is not None:
            bound = self.constant(least.reshape(1, -1, 1, 1).astype(np.float32), "thresholds")
        below = self.node("Less", [x, bound], f"{name}/below")
        return self.node("Where", [below, self.number(-1.0), self.number(1.0)], name)


#: onnx.TensorProto.FLOAT.
_FLOAT = 1
