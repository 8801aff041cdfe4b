"""Tensors, and the operators that write them, with the plan of what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_sbn.bits import pack_integers
from keras_sbn.conversion.operator_versions import version_of
from keras_sbn.conversion.plan import NO_REASON, Reason
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.tflite.writer import ModelWriter


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file; `quant` is scale and zero point of one of integers."""

    index: int
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None = None

    @property
    def params(self) -> QuantParams:
        """Scale and zero point of a tensor that has them."""
        assert self.quant is not None
        return self.quant


@dataclass(frozen=True)
class Output:
    """The tensor that an operator is to write.

    Attributes:
        layer: Name of the layer whose row of the report counts the operator.
        shape: Its shape.
        quant: Scale and zero point of an integer tensor.
        dtype: Its type; by default that of `quant` where it has a scale, and float32 elsewhere.
        name: Its name; by default that of the layer. A tensor without a suffix holds the value of the
            folded layer of that name.
        suffix: What comes after the name.
        binary: Whether the operator computes with binary values, however the target stores them.
    """

    layer: str
    shape: tuple[int, ...]
    quant: QuantParams | None = None
    dtype: str = ""
    name: str = ""
    suffix: str = ""
    binary: bool = False

    def also(self, **changes: Any) -> Output:
        """The same output, some of it changed."""
        return replace(self, **changes)

    @property
    def stored_type(self) -> str:
        return self.dtype or ("float32" if self.quant is None else self.quant.dtype)

    @property
    def full_name(self) -> str:
        name = self.name or self.layer
        return f"{name}/{self.suffix}" if self.suffix else name


@dataclass(frozen=True)
class PlannedOperator:
    """An operator that the conversion means to write, for comparison with the file that was written."""

    operator: str
    output: Output
    constant_bytes: int
    reason: Reason


class Emitter:
    """Hands tensors and operators to the writer, and keeps the plan.

    Attributes:
        plan: The operators in order.
        reasons: By the name of a layer, why it is not binary.
    """

    def __init__(self, writer: ModelWriter) -> None:
        self.plan: list[PlannedOperator] = []
        self.reasons: dict[str, Reason] = {}
        self._writer = writer
        self._constant_bytes: dict[int, int] = {}
        self._names: dict[str, int] = {}

    def tensor(self, output: Output) -> Tensor:
        """Adds a tensor that an operator writes, or an input of the file."""
        scale, zero_point, *_ = output.quant or (None, 0)
        dtype = output.stored_type
        index = self._writer.tensor(output.full_name, output.shape, dtype, scale, zero_point)
        return Tensor(index, tuple(output.shape), dtype, output.quant)

    def constant(
        self,
        suffix: str,
        value: np.ndarray,
        scale: float | Sequence[float] | None = None,
        zero_point: int = 0,
        axis: int = 0,
        bits: int | None = None,
    ) -> Tensor:
        """Adds a constant under a short name that no other constant has.

        Integers are packed where `bits` is 2 or 4.
        """
        count = self._names.get(suffix, 0)
        self._names[suffix] = count + 1
        name = f"{suffix}_{count}" if count else suffix
        value = np.ascontiguousarray(value)
        dtype = value.dtype.name if bits is None else f"int{bits}"
        data = (value if bits is None else pack_integers(value, bits)).tobytes()
        buffer = self._writer.buffer(data, dtype)
        index = self._writer.tensor(name, value.shape, dtype, scale, zero_point, axis, buffer)
        self._constant_bytes[index] = len(data)
        quant = QuantParams(scale, zero_point) if isinstance(scale, float) else None
        return Tensor(index, value.shape, dtype, quant)

    def emit(
        self,
        operator: str,
        inputs: Sequence[Tensor | None],
        output: Output,
        table: str | None = None,
        fields: dict[str, Any] | None = None,
        version: int | None = None,
    ) -> Tensor:
        """Adds an operator of one output; `operators` alone calls this.

        Args:
            operator: Its name; one that starts with "Lce" is a custom one.
            inputs: What it reads.
            output: What it writes.
            table: Name of its table of options, without "Options", where it has one.
            fields: The options.
            version: Its version, where that does not follow from the type of the first input.
        """
        written = self.tensor(output)
        indices = [-1 if tensor is None else tensor.index for tensor in inputs]
        if version is None:
            version = version_of(operator, inputs[0].dtype if inputs[0] else "")
        options = (table or "", fields or {})
        self._writer.operator(operator, indices, [written.index], options, version)
        size = sum(self._constant_bytes.get(index, 0) for index in indices)
        reason = self.reasons.get(output.layer, NO_REASON)
        self.plan.append(PlannedOperator(operator, output, size, reason))
        return written
