"""Reads a TFLite flatbuffer back: what the file says, not what we meant to write."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from keras_sbn.conversion.schema import operator_names, schema, tensor_type_names

_IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the file: `bytes` is the size of its constant, 0 where it has none."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class OperatorInfo:
    """An operator of the file, in execution order.

    `name` is the builtin operator's name, or the custom one's, such as "LceBconv2d".
    """

    name: str
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    options: dict[str, int] = field(default_factory=dict)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the constants the operator reads."""
        return sum(tensor.bytes for tensor in self.inputs if tensor is not None)


@dataclass(frozen=True)
class FileInfo:
    """A TFLite file: its operators, its inputs and outputs, and its size."""

    size: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]


def read_file(content: bytes) -> FileInfo:
    """Parses the bytes of a TFLite model.

    Args:
        content: The whole file.

    Returns:
        What the first subgraph holds.

    Raises:
        ValueError: If the bytes are not a TFLite model, or damaged.
    """
    if len(content) < 8 or content[4:8] != _IDENTIFIER:
        raise ValueError(
            f"Expected a TFLite model, with {_IDENTIFIER.decode()!r} at byte 4. Received: {len(content)} "
            f"bytes that begin with {bytes(content[:8])!r}"
        )
    try:
        return _parse(content)
    except (struct.error, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected a whole TFLite model. Received: {len(content)} bytes that do not parse "
            f"({type(error).__name__}: {error}). The file is truncated or damaged."
        ) from error


def _parse(content: bytes) -> FileInfo:
    model = schema().Model.GetRootAs(content, 0)
    if model.SubgraphsLength() < 1:
        raise ValueError("the model has no subgraph")
    graph = model.Subgraphs(0)
    tensors = tuple(
        _tensor(model, graph.Tensors(index), len(content)) for index in range(graph.TensorsLength())
    )
    codes = [_code_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    operators = tuple(
        _operator(graph.Operators(index), codes, tensors) for index in range(graph.OperatorsLength())
    )
    return FileInfo(
        size=len(content),
        inputs=tuple(tensors[graph.Inputs(i)] for i in range(graph.InputsLength())),
        outputs=tuple(tensors[graph.Outputs(i)] for i in range(graph.OutputsLength())),
        operators=operators,
    )


def _tensor(model: Any, tensor: Any, file_size: int) -> TensorInfo:
    length = model.Buffers(tensor.Buffer()).DataLength()
    if length > file_size:
        raise ValueError(f"a constant of {length} bytes in a file of {file_size}")
    return TensorInfo(
        name=(tensor.Name() or b"").decode("utf-8", "replace"),
        shape=tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())),
        dtype=tensor_type_names()[tensor.Type()],
        bytes=length,
    )


def _code_name(code: Any) -> str:
    custom = code.CustomCode()
    if custom:
        return str(custom.decode("utf-8", "replace"))
    return operator_names()[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def _operator(op: Any, codes: list[str], tensors: tuple[TensorInfo, ...]) -> OperatorInfo:
    inputs = [op.Inputs(i) for i in range(op.InputsLength())]
    outputs = [op.Outputs(i) for i in range(op.OutputsLength())]
    if min([*inputs, 0]) < -1 or min([*outputs, 0]) < 0:
        raise ValueError("an operator reads a tensor of negative index")
    name = codes[op.OpcodeIndex()]
    return OperatorInfo(
        name=name,
        inputs=tuple(None if index == -1 else tensors[index] for index in inputs),
        outputs=tuple(tensors[index] for index in outputs),
        options=_custom_options(op) if name.startswith("Lce") else {},
    )


def _custom_options(op: Any) -> dict[str, int]:
    from flatbuffers import flexbuffers

    length = op.CustomOptionsLength()
    if length == 0:
        return {}
    data = bytes(op.CustomOptions(i) for i in range(length))
    values = flexbuffers.GetRoot(bytearray(data)).Value
    if not isinstance(values, dict):
        raise ValueError("custom options that are not a map")
    return {str(key): int(value) for key, value in values.items()}
