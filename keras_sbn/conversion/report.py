"""What became of every layer, read from the file that was written."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_sbn.conversion.plan import Reason
from keras_sbn.files import write_atomically
from keras_sbn.tables import format_table
from keras_sbn.tflite.costs import kernel_of, producers
from keras_sbn.tflite.memory import live_bytes
from keras_sbn.tflite.reader import FileInfo, OperatorInfo, TensorInfo

_HEADER = ("layer", "kind", "operators", "input", "output", "bytes", "binary MACs", "other MACs", "RAM")
#: What a table shows of a name.
_LONGEST_NAME = 40


@dataclass(frozen=True)
class LayerReport:
    """One layer of the model in the file, or one operator of a file whose layers are not known.

    Attributes:
        name: Name of the Keras layer, or of the tensor that the operator writes.
        kind: `"binary"` where a binary kernel computes it, `"int8"` where an 8-bit one does,
            `"int16"` where one of 16-bit activations and 8-bit weights does, `"moves"` where values are
            only moved or stored another way, `"float"` elsewhere.
        operators: Names of the operators it became, in order of execution.
        input_type: Type of what it reads: `"bitpacked"`, `"float32"`, ...
        output_type: Type of what it writes.
        bytes: Bytes of its constants in the file.
        kernel_bytes: Bytes of its kernel alone.
        weights: Number of weights of its kernel.
        binary_macs: Products a sample that are taken of binary values.
        int8_macs: Products a sample that are taken in other integer arithmetic, of 8-bit weights.
        float_macs: Products a sample that are taken in float32.
        reason: Why it is not binary, or writes float32 where it could write bits.
        remedy: What to do about it, where something can be done.
        ram_bytes: Bytes of all activations that are in memory while it runs.
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    input_type: str
    output_type: str
    bytes: int
    kernel_bytes: int
    weights: int
    binary_macs: int
    int8_macs: int
    float_macs: int
    reason: str
    remedy: str
    ram_bytes: int = 0


@dataclass(frozen=True)
class TensorReport:
    """An input or output of the file; ``scale * (stored - zero_point)`` where it has a scale."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None

    def __str__(self) -> str:
        text = f"{_short(self.name)}: {self.dtype} {self.shape}"
        if self.scale is None:
            return text
        return f"{text}, scale {self.scale:.6g}, zero point {self.zero_point}"


@dataclass(frozen=True)
class ConversionReport:
    """What became of every layer, and what it takes. `print` shows a table.

    Attributes:
        layers: A `LayerReport` a layer.
        file_bytes: Size of the file. Of C code, the bytes of its constants, which lie in flash.
        inputs: A `TensorReport` an input.
        outputs: A `TensorReport` an output.
        arena_bytes: The memory that the network takes while it runs: of C code its static memory, and of
            `target="micro"` what TensorFlow Lite Micro takes, measured in its interpreter; `None`
            elsewhere, and where that is not installed.
        oldest_runtime: The oldest runtime that was seen to read the file, where not all read it.
        written: What `file_bytes` counts: "file", or "constants" of C code.
    """

    layers: tuple[LayerReport, ...]
    file_bytes: int
    inputs: tuple[TensorReport, ...] = ()
    outputs: tuple[TensorReport, ...] = ()
    arena_bytes: int | None = None
    oldest_runtime: str = ""
    written: str = "file"

    @property
    def ram_bytes(self) -> int:
        """Bytes of the activations that are in memory at once, at most: no arena can be smaller."""
        return max((row.ram_bytes for row in self.layers), default=0)

    @property
    def weights(self) -> int:
        """Number of weights of all kernels."""
        return sum(row.weights for row in self.layers)

    @property
    def one_bit_bytes(self) -> int:
        """Bytes that the kernels would take at one bit a weight: no file can be smaller."""
        return -(-self.weights // 8)

    @property
    def binary_macs(self) -> int:
        """Products a sample of binary values."""
        return sum(row.binary_macs for row in self.layers)

    @property
    def int8_macs(self) -> int:
        """Products a sample in other integer arithmetic, of 8-bit weights."""
        return sum(row.int8_macs for row in self.layers)

    @property
    def float_macs(self) -> int:
        """Products a sample in float32."""
        return sum(row.float_macs for row in self.layers)

    def __str__(self) -> str:
        columns = len(_HEADER) if self._has_ram else len(_HEADER) - 1
        rows = [
            (
                _short(row.name),
                row.kind,
                _joined(row.operators),
                row.input_type,
                row.output_type,
                f"{row.bytes:,}",
                f"{row.binary_macs:,}",
                f"{row.int8_macs + row.float_macs:,}",
                f"{row.ram_bytes:,}",
            )[:columns]
            for row in self.layers
        ]
        lines = [format_table(_HEADER[:columns], rows, "lllllrrrr"[:columns])]
        lines += [f"input  {tensor}" for tensor in self.inputs]
        lines += [f"output {tensor}" for tensor in self.outputs]
        lines += self._explanations()
        with_kernel = [row for row in self.layers if row.weights]
        binary = sum(row.kind == "binary" for row in with_kernel)
        ratio = f", {self.file_bytes / self.one_bit_bytes:.2f} times" if self.weights else ","
        lines += [
            f"{binary} of {len(with_kernel)} layers with a kernel are binary",
            f"MACs: {self.binary_macs:,} binary, {self.int8_macs:,} int8, {self.float_macs:,} float",
            f"{self.written} of {self.file_bytes:,} bytes{ratio} the {self.one_bit_bytes:,} bytes of "
            f"{self.weights:,} weights at one bit each",
        ]
        if self.arena_bytes is not None:
            activations = f", of which {self.ram_bytes:,} bytes are activations" if self._has_ram else ""
            lines.append(f"arena of {self.arena_bytes:,} bytes{activations}")
        if self.oldest_runtime:
            lines.append(f"runs in {self.oldest_runtime} and later; what is older refuses the file")
        return "\n".join(lines)

    @property
    def _has_ram(self) -> bool:
        """Whether the table says what each layer takes; C code lays its values out in its own way."""
        return self.arena_bytes is not None and self.written == "file"

    def _explanations(self) -> list[str]:
        """A line a reason, with the layers it holds for.

        Layers without a kernel mostly explain themselves; naming each would bury the ones that matter.
        """
        found: dict[str, list[str]] = {}
        for row in self.layers:
            if row.reason and (row.weights or row.remedy):
                what = f"binary, writes {row.output_type}" if row.kind == "binary" else row.kind
                remedy = f"; {row.remedy}" if row.remedy else ""
                found.setdefault(f"{what}: {row.reason}{remedy}", []).append(_short(row.name))
        return [f"  {', '.join(names)}\n    {text}" for text, names in found.items()]

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain lists, strings and numbers."""
        totals = ("weights", "one_bit_bytes", "binary_macs", "int8_macs", "float_macs")
        return {**asdict(self), "totals": {name: getattr(self, name) for name in totals}}

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report as JSON, whole or not at all, and returns the path.

        Raises:
            OSError: If it cannot be written; a file that was there before is unharmed.
        """
        return write_atomically(path, self.to_json().encode())


#: Operators that compute nothing: they move values or store them another way.
MOVING = (
    "CONCATENATION",
    "DEQUANTIZE",
    "EXPAND_DIMS",
    "GATHER",
    "LceDequantize",
    "LceQuantize",
    "PACK",
    "PAD",
    "PADV2",
    "QUANTIZE",
    "RESHAPE",
    "SHAPE",
    "SLICE",
    "SPLIT",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
    "UNPACK",
)


def kind_of(operators: Sequence[OperatorInfo]) -> str:
    """Returns the kind of a layer that is not binary, from its operators."""
    if all(op.name in MOVING for op in operators):
        return "moves"
    types = {tensor.dtype for op in operators for tensor in op.outputs if op.name not in MOVING}
    if "float32" not in types and "int16" in types:
        return "int16"
    return "int8" if types & {"int8", "uint8"} else "float"


def report_of(
    info: FileInfo, rows: Iterable[tuple[str, str, Sequence[OperatorInfo], Reason]]
) -> ConversionReport:
    """Returns the report of a file from the name, kind and operators of each row, and its reason."""
    made_by = producers(info.operators)
    memory = dict(zip(info.operators, live_bytes(info), strict=True))
    layers = []
    for name, kind, operators, reason in rows:
        kernels = [kernel for op in operators if (kernel := kernel_of(op, made_by)) is not None]
        macs = sum(kernel.macs for kernel in kernels)
        layers.append(
            LayerReport(
                name=name,
                kind=kind,
                operators=tuple(op.name for op in operators),
                input_type=_type(operators[0].input(0)),
                output_type=_type(operators[-1].output),
                bytes=sum(op.constant_bytes for op in operators),
                kernel_bytes=sum(kernel.tensor.bytes for kernel in kernels),
                weights=sum(kernel.weights for kernel in kernels),
                binary_macs=macs if kind == "binary" else 0,
                int8_macs=macs if kind in ("int8", "int16") else 0,
                float_macs=macs if kind not in ("binary", "int8", "int16") else 0,
                reason=reason.reason,
                remedy=reason.remedy,
                ram_bytes=max(memory[op] for op in operators),
            )
        )
    inputs, outputs = (tuple(map(_described, found)) for found in (info.inputs, info.outputs))
    return ConversionReport(tuple(layers), info.size, inputs, outputs)


def _described(tensor: TensorInfo) -> TensorReport:
    """An input or output of the file."""
    scale = tensor.scales[0] if len(tensor.scales) == 1 else None
    zero_point = tensor.zero_points[0] if len(tensor.scales) == len(tensor.zero_points) == 1 else None
    return TensorReport(tensor.name, tensor.dtype, tensor.shape, scale, zero_point)


def _joined(operators: Sequence[str]) -> str:
    """Names of operators for a table, with a number where one comes several times in a row."""
    runs = [(name, len(list(run))) for name, run in itertools.groupby(operators)]
    return " + ".join(name if count == 1 else f"{count} {name}" for name, count in runs)


def _short(name: str) -> str:
    """A name for a table.

    Converters join the names of all layers that went into an operator, by semicolons, and put the model's
    name before each: the first layer is shown, and of a long name the end.
    """
    name = name.split(";")[0]
    while len(name) > _LONGEST_NAME and "/" in name.removeprefix("…/"):
        name = "…/" + name.removeprefix("…/").split("/", 1)[1]
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _type(tensor: TensorInfo | None) -> str:
    dtype = "" if tensor is None else tensor.dtype
    return "bitpacked" if dtype == "int32" else dtype
