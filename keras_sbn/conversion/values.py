"""Where a value lives: in float32, in int8, in 8 bits as the input stores it, or as bits of the target.

Each form is made from another one, once, where a consumer asks for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class BinaryForm(ABC):
    """How a target stores ±1, which is called its bits."""

    #: Scale and zero point of the tensor, where it is an 8-bit one.
    bits_quant: ClassVar[QuantParams | None]
    #: Whether what is not binary is computed in int16, and nothing in float32.
    wide_numbers: ClassVar[bool] = False

    @abstractmethod
    def bits_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that bits of values of this shape are stored in."""

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
        self._floats: dict[int, Tensor] = {}
        self._int8s: dict[int, Tensor] = {}
        self._unsigned: dict[int, Tensor] = {}
        self._bits: dict[int, Tensor] = {}
        self._wide: dict[int, Tensor] = {}

    def set(self, node: Node, tensor: Tensor) -> None:
        """Says which tensor holds a node's value, as float32, int8, uint8 or int16."""
        forms = {"float32": self._floats, "int8": self._int8s, "uint8": self._unsigned}
        forms["int16"] = self._wide
        forms[tensor.dtype][id(node)] = tensor

    def set_bits(self, node: Node, tensor: Tensor) -> None:
        """Says which tensor holds a node's value as bits."""
        self._bits[id(node)] = tensor

    def has_bits(self, node: Node) -> bool:
        return id(node) in self._bits

    def is_float_alone(self, node: Node) -> bool:
        return id(node) in self._floats and id(node) not in self._int8s

    def integers(self, node: Node) -> Tensor | None:
        """The 8-bit tensor of a node that exists in no other form, as it is stored."""
        key = id(node)
        if key in self._floats or key in self._bits or key in self._wide:
            return None
        return self._unsigned.get(key) or self._int8s.get(key)

    def float32(self, node: Node) -> Tensor:
        """The float32 tensor of a node; bits are unpacked on first use, 8-bit values converted."""
        key = id(node)
        if key not in self._floats:
            if key in self._bits:
                self._floats[key] = self._form.bits_to_float(node, self._bits[key])
            else:
                stored = self._unsigned.get(key) or self._int8s[key]
                output = Output(node.name, static_shape(node), suffix="float")
                self._floats[key] = self._emitter.dequantize(stored, output)
        return self._floats[key]

    def int8(self, node: Node) -> Tensor:
        """The int8 tensor of a node; another form is converted on first use."""
        key = id(node)
        if key not in self._int8s:
            if key in self._bits:
                self._int8s[key] = self._form.bits_to_int8(node, self._bits[key])
            else:
                stored = self._unsigned.get(key) or self._wide.get(key) or self._floats[key]
                quant = self._scales.in_int8(node)
                output = Output(node.name, static_shape(node), quant, suffix="int8")
                self._int8s[key] = self._emitter.quantize(stored, output)
        return self._int8s[key]

    def number(self, node: Node) -> Tensor:
        """The tensor that operators compute with that are not binary: int8, or int16 in some targets."""
        key = id(node)
        if not self._form.wide_numbers:
            return self.int8(node)
        if key not in self._wide:
            x = self.int8(node)
            assert x.quant is not None
            # In units of the same size, so that no value changes.
            quant = QuantParams(x.quant.scale, 0, "int16")
            output = Output(node.name, static_shape(node), quant, suffix="wide")
            self._wide[key] = self._emitter.quantize(x, output)
        return self._wide[key]

    def compared(self, node: Node) -> Tensor:
        """The tensor that a comparison reads: as it is stored in 8 bits, or else as numbers."""
        return self.number(node) if id(node) in self._wide else self.int8(node)

    def bits(self, node: Node) -> Tensor:
        """The bits of a ±1 node; another form is packed on first use."""
        key = id(node)
        if key not in self._bits:
            stored = self._int8s.get(key) or self._wide.get(key) or self._floats[key]
            self._bits[key] = self._form.to_bits(node, stored, suffix="packed")
        return self._bits[key]

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
        assert value.quant is not None
        quant = self._as_stored(value.quant, dtype)
        output = Output(node.name, static_shape(node), quant, dtype, suffix="uint8")
        return self._emitter.quantize(value, output)

    def _integer_type(self, node: Node) -> str:
        values = grid(node)
        in_int8 = values is not None and values.steps * values.bound <= HIGHEST
        return "int8" if in_int8 or is_binary(node) or isinstance(node.op, Placeholder) else "int16"

    @staticmethod
    def _as_stored(quant: QuantParams, dtype: str) -> QuantParams:
        return QuantParams(quant.scale, quant.zero_point + (_UNSIGNED if dtype == "uint8" else 0))
