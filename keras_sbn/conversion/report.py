"""What became of every layer, read from the file that was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keras_sbn.conversion.lowering import LoweringError, PlannedOperator
from keras_sbn.conversion.reader import FileInfo, OperatorInfo
from keras_sbn.tables import format_table

_BINARY_OPERATORS = ("LceBconv2d", "LceBMaxPool2d")


@dataclass(frozen=True)
class LayerReport:
    """One layer of the model in the file.

    Attributes:
        name: Name of the Keras layer.
        kind: `"binary"` where a binary kernel computes it, `"float"` elsewhere.
        operators: Names of the operators it became, in order of execution.
        input_type: Type of what it reads: `"bitpacked"`, `"float32"`, ...
        output_type: Type of what it writes.
        bytes: Bytes of its constants in the file.
        reason: For a layer that is not binary, why.
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    input_type: str
    output_type: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class ConversionReport:
    """A row a layer, and the size of the file in bytes. `print` shows a table."""

    layers: tuple[LayerReport, ...]
    file_bytes: int

    def __str__(self) -> str:
        rows = [
            (
                row.name,
                row.kind,
                " + ".join(row.operators),
                row.input_type,
                row.output_type,
                f"{row.bytes:,}",
                row.reason,
            )
            for row in self.layers
        ]
        header = ("layer", "kind", "operators", "input", "output", "bytes", "reason")
        table = format_table(header, rows, "lllllrl")
        binary = sum(row.kind == "binary" for row in self.layers)
        return f"{table}\n{binary} of {len(rows)} layers binary, file of {self.file_bytes:,} bytes"

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain lists, strings and numbers."""
        return asdict(self)

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def compare_with_plan(plan: Sequence[PlannedOperator], info: FileInfo, tolerant: bool = False) -> ConversionReport:
    """Compares the operators of the file with those that were planned.

    Args:
        plan: What was meant to be written.
        info: What the file holds.

    Returns:
        The report, made from the file.

    Raises:
        LoweringError: If an operator, a type or a shape is not as planned.
    """
    if len(plan) != len(info.operators):
        raise LoweringError(
            f"Expected {len(plan)} operators in the file. Received: {len(info.operators)}."
        )
    grouped: dict[str, list[tuple[PlannedOperator, OperatorInfo]]] = {}
    for planned, found in zip(plan, info.operators, strict=True):
        (output,) = found.outputs
        meant = (planned.operator, planned.output, planned.dtype, planned.shape)
        written = (found.name, output.name, output.dtype, output.shape)
        if meant != written:
            raise LoweringError(
                f"Expected layer {planned.layer!r} to be written as {meant}. Received: {written}."
            )
        grouped.setdefault(planned.layer, []).append((planned, found))
    rows = tuple(_layer_report(name, pairs) for name, pairs in grouped.items())
    return ConversionReport(rows, info.size)


def _layer_report(name: str, pairs: list[tuple[PlannedOperator, OperatorInfo]]) -> LayerReport:
    operators = [found for _, found in pairs]
    binary = any(op.name in _BINARY_OPERATORS for op in operators)
    return LayerReport(
        name=name,
        kind="binary" if binary else "float",
        operators=tuple(op.name for op in operators),
        input_type=_type(operators[0], "input"),
        output_type=_type(operators[-1], "output"),
        bytes=sum(op.constant_bytes for op in operators),
        reason="" if binary else pairs[0][0].reason.reason,
    )


def _type(operator: OperatorInfo, side: str) -> str:
    tensor = operator.inputs[0] if side == "input" else operator.outputs[0]
    dtype = tensor.dtype if tensor is not None else ""
    return "bitpacked" if dtype == "int32" else dtype
