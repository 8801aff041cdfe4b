"""Where a value lives: in float32, in int8, in 8 bits as the input stores it, or as bits of the target.

Each form is made from another one, once, where a consumer asks for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import ClassVar

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.operators import Operators
from keras_sbn.conversion.quantization import HIGHEST, QuantParams
from keras_sbn.conversion.scales import Scales
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import Placeholder
from keras_sbn.folding.value_ranges import grid, is_binary, is_image

#: What an unsigned zero point is above the signed one.
_UNSIGNED = 128
_BITS = "bits"


class BinaryForm(ABC):
    """How a target stores ±1, which is called its bits."""

    #: Scale and zero point of the tensor, where it is an 8-bit one.
    bits_quant: ClassVar[QuantParams | None]
    #: How many values stand in one number of the last axis of the bits.
    packed: ClassVar[int] = 1
    #: Whether what is not binary is computed in int16, and nothing in float32.
    wide_numbers: ClassVar[bool] = False

    def bits_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that bits of values of this shape are stored in."""
        return (*shape[:-1], -(-shape[-1] // self.packed))

    @abstractmethod
    def to_bits(self, node: Node, x: Tensor, suffix: str = "") -> Tensor:
        """Emits the bits of a node from ±1 in float32 or int8, or from `quantization.BINARY`."""

    @abstractmethod
    def bits_to_float(self, node: Node, x: Tensor) -> Tensor:
        """Emits the float32 tensor of -1 and +1 of a node from its bits."""

    @abstractmethod
    def bits_to_int8(self, node: Node, x: Tensor) -> Tensor:
        """Emits the int8 tensor of -1 and +1 themselves, of scale 1 and zero point 0."""


class Values:
    """The tensors that hold the values of nodes, and conversions between their forms."""

    def __init__(self, emitter: Operators, form: BinaryForm, scales: Scales) -> None:
        self._emitter = emitter
        self._form = form
        self._scales = scales
        #: By node, the tensors that hold its value, by their types; bits have none of their own.
        self._tensors: dict[Node, dict[str, Tensor]] = defaultdict(dict)

    def set(self, node: Node, tensor: Tensor) -> None:
        """Says which tensor holds a node's value, as float32, int8, uint8 or int16."""
        self._tensors[node][tensor.dtype] = tensor

    def set_bits(self, node: Node, tensor: Tensor) -> None:
        """Says which tensor holds a node's value as bits."""
        self._tensors[node][_BITS] = tensor

    def has_bits(self, node: Node) -> bool:
        return _BITS in self._tensors[node]

    def is_float_alone(self, node: Node) -> bool:
        return "float32" in self._tensors[node] and "int8" not in self._tensors[node]

    def integers(self, node: Node) -> Tensor | None:
        """The 8-bit tensor of a node that exists in no other form, as it is stored."""
        found = self._tensors[node]
        return None if found.keys() - {"uint8", "int8"} else _first(found, "uint8", "int8")

    def float32(self, node: Node) -> Tensor:
        """The float32 tensor of a node; bits are unpacked on first use, 8-bit values converted."""
        found = self._tensors[node]
        if "float32" not in found:
            if _BITS in found:
                found["float32"] = self._form.bits_to_float(node, found[_BITS])
            else:
                output = Output(node.name, static_shape(node), suffix="float")
                found["float32"] = self._emitter.unary(
                    "DEQUANTIZE", _first(found, "uint8", "int8"), output
                )
        return found["float32"]

    def int8(self, node: Node) -> Tensor:
        """The int8 tensor of a node; another form is converted on first use."""
        found = self._tensors[node]
        if "int8" not in found:
            if _BITS in found:
                found["int8"] = self._form.bits_to_int8(node, found[_BITS])
            else:
                stored = _first(found, "uint8", "int16", "float32")
                output = Output(node.name, static_shape(node), self._scales.in_int8(node), suffix="int8")
                found["int8"] = self._emitter.quantize(stored, output)
        return found["int8"]

    def number(self, node: Node) -> Tensor:
        """The tensor that operators compute with that are not binary: int8, or int16 in some targets."""
        if not self._form.wide_numbers:
            return self.int8(node)
        found = self._tensors[node]
        if "int16" not in found:
            x = self.int8(node)
            # In units of the same size, so that no value changes.
            quant = QuantParams(x.params.scale, 0, "int16")
            output = Output(node.name, static_shape(node), quant, suffix="wide")
            found["int16"] = self._emitter.quantize(x, output)
        return found["int16"]

    def compared(self, node: Node) -> Tensor:
        """The tensor that a comparison reads: as it is stored in 8 bits, or else as numbers."""
        return self.number(node) if "int16" in self._tensors[node] else self.int8(node)

    def bits(self, node: Node) -> Tensor:
        """The bits of a ±1 node; another form is packed on first use."""
        found = self._tensors[node]
        if _BITS not in found:
            stored = _first(found, "int8", "int16", "float32")
            found[_BITS] = self._form.to_bits(node, stored, suffix="packed")
        return found[_BITS]

    def add_input(self, node: Node, dtype: str | None) -> Tensor:
        """Adds an input of the model, "float32", "int8" or "uint8"; by default as the model has it."""
        dtype = dtype or ("uint8" if is_image(node) else "int8" if self._form.wide_numbers else "float32")
        quant = None if dtype == "float32" else self._as_stored(self._scales.of(node), dtype)
        tensor = self._emitter.tensor(Output(node.name, static_shape(node), quant, dtype))
        self.set(node, tensor)
        return tensor

    def output(self, node: Node, dtype: str | None) -> Tensor:
        """The tensor of an output of the model, "float32", "int16", "int8" or "uint8".

        By default it is float32, and in a target of integers int8, or int16 where int8 would round.
        """
        if dtype is None:
            dtype = self._integer_type(node) if self._form.wide_numbers else "float32"
        if dtype == "float32":
            return self.float32(node)
        if dtype == "int16":
            return self.number(node)
        value = self.int8(node)
        if dtype == "int8":
            return value
        quant = self._as_stored(value.params, dtype)
        output = Output(node.name, static_shape(node), quant, dtype, suffix="uint8")
        return self._emitter.quantize(value, output)

    def _integer_type(self, node: Node) -> str:
        values = grid(node)
        in_int8 = values is not None and values.steps * values.bound <= HIGHEST
        return "int8" if in_int8 or is_binary(node) or isinstance(node.op, Placeholder) else "int16"

    @staticmethod
    def _as_stored(quant: QuantParams, dtype: str) -> QuantParams:
        return QuantParams(quant.scale, quant.zero_point + (_UNSIGNED if dtype == "uint8" else 0))


def _first(tensors: dict[str, Tensor], *dtypes: str) -> Tensor:
    """The tensor of the first of these types that there is."""
    return next(tensors[dtype] for dtype in dtypes if dtype in tensors)
