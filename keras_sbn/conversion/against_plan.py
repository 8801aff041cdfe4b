"""The operators of the file that was written, against those that were meant to be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sbn.conversion.emitter import PlannedOperator
from keras_sbn.conversion.plan import LoweringError, Reason
from keras_sbn.conversion.report import ConversionReport, kind_of, report_of
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
        (output,), layer = found.outputs, planned.output.layer
        meant = _as_in_a_file(planned)
        written = (
            *(found.name, output.name, output.dtype, output.shape, found.constant_bytes),
            *(output.scales, output.zero_points),
        )
        if meant != written:
            if not allow_float_fallback:
                raise LoweringError(
                    f"Expected layer {layer!r} to be written as {meant}. Received: {written}. "
                    "allow_float_fallback=True makes it a row of the report."
                )
            surprises[layer] = Reason(f"it was planned as {meant} and is {written}", "")
        grouped.setdefault(layer, []).append((planned, found))
    rows = []
    for name, pairs in grouped.items():
        operators = [found for _, found in pairs]
        binary = any(planned.output.binary for planned, _ in pairs) and name not in surprises
        kind = "binary" if binary else kind_of(operators)
        rows.append((name, kind, operators, surprises.get(name, pairs[0][0].reason)))
    return report_of(info, rows)


def _as_in_a_file(planned: PlannedOperator) -> tuple[Any, ...]:
    """What a file says of an operator: its scales are float32."""
    output, quant = planned.output, planned.output.quant
    stored = ((float(np.float32(quant.scale)),), (quant.zero_point,)) if quant else ((), ())
    known = (planned.operator, output.full_name, output.stored_type, tuple(output.shape))
    return (*known, planned.constant_bytes, *stored)
