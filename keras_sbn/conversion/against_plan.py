"""The operators of the file that was written, against those that were meant to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_sbn.conversion.plan import LoweringError, PlannedOperator, Reason
from keras_sbn.conversion.report import ConversionReport, describe, kind_of, tensors
from keras_sbn.tflite.costs import producers
from keras_sbn.tflite.memory import live_bytes
from keras_sbn.tflite.reader import FileInfo, OperatorInfo


def compare_with_plan(
    plan: Sequence[PlannedOperator], info: FileInfo, allow_float_fallback: bool = False
) -> ConversionReport:
    """Compares the operators of the file with those that were planned.

    Args:
        plan: What was meant to be written.
        info: What the file holds.
        allow_float_fallback: Whether an operator that is not as planned is the reason in its layer's
            row, in place of an error.

    Returns:
        The report, made from the file.

    Raises:
        LoweringError: If the number of operators, or an operator, its name, type, shape, scale, zero
            point or the size of its constants, is not as planned.
    """
    if len(plan) != len(info.operators):
        raise LoweringError(
            f"Expected {len(plan)} operators in the file. Received: {len(info.operators)}."
        )
    grouped: dict[str, list[tuple[PlannedOperator, OperatorInfo]]] = {}
    surprises: dict[str, Reason] = {}
    for planned, found in zip(plan, info.operators, strict=True):
        (output,) = found.outputs
        meant = (
            *(planned.operator, planned.output, planned.dtype, planned.shape, planned.constant_bytes),
            *_stored_as(planned.quantization),
        )
        written = (
            *(found.name, output.name, output.dtype, output.shape, found.constant_bytes),
            *(output.scales, output.zero_points),
        )
        if meant != written:
            if not allow_float_fallback:
                raise LoweringError(
                    f"Expected layer {planned.layer!r} to be written as {meant}. Received: {written}. "
                    "allow_float_fallback=True makes it a row of the report."
                )
            surprises[planned.layer] = Reason(f"it was planned as {meant} and is {written}", "")
        grouped.setdefault(planned.layer, []).append((planned, found))
    made_by = producers(info.operators)
    memory = dict(zip(map(id, info.operators), live_bytes(info), strict=True))
    rows = []
    for name, pairs in grouped.items():
        operators = [found for _, found in pairs]
        binary = any(planned.binary for planned, _ in pairs) and name not in surprises
        kind = "binary" if binary else kind_of(operators)
        reason = surprises.get(name, pairs[0][0].reason)
        row = describe(name, kind, operators, reason, made_by)
        rows.append(replace(row, ram_bytes=max(memory[id(op)] for op in operators)))
    return ConversionReport(tuple(rows), info.size, tensors(info.inputs), tensors(info.outputs))


def _stored_as(
    quantization: tuple[float, int, str] | None,
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scales and zero points as a file holds them: the scales in float32."""
    if quantization is None:
        return (), ()
    scale, zero_point, _ = quantization
    return (float(np.float32(scale)),), (zero_point,)
