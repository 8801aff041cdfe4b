"""Reads a TFLite flatbuffer: what the file says, not what we meant to write.

A damaged file can claim vectors of any length, share one long vector among many tables, or nest its
options without end. So no vector may be longer than the file, all that are read together not longer than
twice the file, and options are read one level deep.
"""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_sbn.bits import unpack_integers
from keras_sbn.tflite.schema import names_of, schema

_IDENTIFIER = b"TFL3"
#: What damaged flatbuffers raise.
DAMAGED = (struct.error, IndexError, KeyError, TypeError, ValueError, OverflowError, AssertionError)


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """A tensor of the file.

    `bytes` is the size of its constant, 0 where it has none, and `data` the constant itself; `scales` and
    `zero_points` are the different ones of its quantization, empty where it has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    data: Any = field(default=None, repr=False)

    @property
    def quantization(self) -> tuple[float, int] | None:
        """Scale and zero point, where there is one of each for the whole tensor."""
        if len(self.scales) != 1 or len(self.zero_points) != 1:
            return None
        return self.scales[0], self.zero_points[0]

    def values(self) -> np.ndarray | None:
        """The constant as an array, or `None` if there is none of this shape.

        Integers of 2 and 4 bits are int8 there.
        """
        try:
            if self.dtype in ("int2", "int4"):
                packed = np.frombuffer(self.data, np.uint8)
                flat = unpack_integers(packed, int(self.dtype[3:]), math.prod(self.shape))
                return flat.reshape(self.shape)
            return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape)
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True, eq=False)
class OperatorInfo:
    """An operator of the file, in execution order.

    `name` is the builtin operator's name, or the custom one's, such as "LceBconv2d". `options` are the
    numbers among its options, by the names that the schema's object classes have for them, as "strideH";
    `version` is the one that a runtime has to know.
    """

    name: str
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1

    def input(self, index: int) -> TensorInfo | None:
        """An input, or `None` where the operator has fewer or leaves it out: a damaged one may."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> TensorInfo | None:
        """The first output, or `None` where a damaged operator has none."""
        return self.outputs[0] if self.outputs else None

    @property
    def constant_bytes(self) -> int:
        """Bytes of the constants the operator reads."""
        return sum(tensor.bytes for tensor in self.inputs if tensor is not None)


@dataclass(frozen=True, eq=False)
class FileInfo:
    """A TFLite file: its operators, its inputs and outputs, all its tensors, and its size.

    `input_names` and `output_names` are those of the file's signature, which a Keras model's dictionaries
    have; of a file without one they are the names of the tensors.
    """

    size: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


def content_of(file: Any) -> bytes:
    """The bytes of a file, however it is given: the one place that says what "a file" may be.

    Args:
        file: A path, the bytes, or a `keras_sbn.ConvertedModel`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is none of these.
    """
    if isinstance(file, bytes | bytearray | memoryview):
        return bytes(file)
    if isinstance(file, str | os.PathLike):
        return Path(file).read_bytes()
    content = getattr(file, "content", None)
    if isinstance(content, bytes):
        return content
    raise ValueError(
        "Expected a .tflite file as a path, as bytes, or as a ConvertedModel. Received: "
        f"{type(file).__name__}"
    )


def path_of(file: Any) -> str:
    """The path of a file, empty where it has none."""
    return str(file) if isinstance(file, str | os.PathLike) else getattr(file, "path", "")


def name_of(file: Any) -> str:
    """What messages and tables call a file: its path, or what it is where it has none."""
    return path_of(file) or f"a file of {len(content_of(file)):,} bytes"


@contextmanager
def named(file: Any) -> Iterator[None]:
    """ValueErrors and RuntimeErrors within it begin with the path of the file, if it has one."""
    path = path_of(file)
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if not path or str(error).startswith(f"{path}: "):
            raise
        kind = ValueError if isinstance(error, ValueError) else RuntimeError
        raise kind(f"{path}: {error}") from error


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
        return _Parser(content).parse()
    except DAMAGED as error:
        raise ValueError(
            f"Expected a whole TFLite model. Received: {len(content)} bytes that do not parse "
            f"({type(error).__name__}: {error}). The file is truncated or damaged."
        ) from error


class _Parser:
    def __init__(self, content: bytes) -> None:
        self._size = len(content)
        self._budget = 2 * self._size
        self._model = schema().Model.GetRootAs(content, 0)

    def parse(self) -> FileInfo:
        model = self._model
        if self._range(model.SubgraphsLength(), 4) == range(0):
            raise ValueError("the model has no subgraph")
        self._buffers = self._range(model.BuffersLength(), 4)
        graph = model.Subgraphs(0)
        tensors = tuple(self._tensor(tensor) for tensor in self._vector(graph, "Tensors"))
        codes = [self._code(code) for code in self._vector(model, "OperatorCodes")]
        operators = tuple(self._operator(op, codes, tensors) for op in self._vector(graph, "Operators"))
        inputs = [_natural(index) for index in self._vector(graph, "Inputs")]
        outputs = [_natural(index) for index in self._vector(graph, "Outputs")]
        names = self._signature()
        return FileInfo(
            size=self._size,
            inputs=tuple(tensors[index] for index in inputs),
            outputs=tuple(tensors[index] for index in outputs),
            operators=operators,
            tensors=tensors,
            input_names=_names(inputs, names[0], tensors),
            output_names=_names(outputs, names[1], tensors),
        )

    def _signature(self) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """Names of inputs and of outputs by their tensors, of the signature of the first subgraph."""
        found: tuple[dict[int, list[str]], dict[int, list[str]]] = ({}, {})
        for signature in self._vector(self._model, "SignatureDefs"):
            if signature.SubgraphIndex() != 0 or found[0] or found[1]:
                continue
            for names, vector in zip(found, ("Inputs", "Outputs"), strict=True):
                for entry in self._vector(signature, vector):
                    names.setdefault(entry.TensorIndex(), []).append(self._text(entry.Name()))
        return found

    def _vector(self, table: Any, field: str, element_bytes: int = 4) -> Iterator[Any]:
        """The elements of a vector of a table, once it is known to fit into the file."""
        length = self._range(getattr(table, f"{field}Length")(), element_bytes)
        return map(getattr(table, field), length)

    def _range(self, length: int, element_bytes: int) -> range:
        """The indices of a vector, once it is known to fit into the file."""
        if not 0 <= length * element_bytes <= self._size:
            raise ValueError(f"a vector of {length} elements in a file of {self._size} bytes")
        self._spend(length)
        return range(length)

    def _spend(self, elements: int) -> None:
        self._budget -= elements
        if self._budget < 0:
            raise ValueError("more vectors than the file has bytes")

    def _text(self, text: bytes | None) -> str:
        text = text or b""
        self._spend(len(text))
        return text.decode("utf-8", "replace")

    def _tensor(self, tensor: Any) -> TensorInfo:
        shape = tuple(self._vector(tensor, "Shape"))
        if min((*shape, 0)) < 0:
            raise ValueError(f"a tensor of shape {shape}")
        index = tensor.Buffer()
        if index not in self._buffers:
            raise ValueError(f"a constant number {index} of {len(self._buffers)}")
        buffer = self._model.Buffers(index)
        length = buffer.DataLength()
        if length > self._size:
            raise ValueError(f"a constant of {length} bytes in a file of {self._size}")
        quantization = tensor.Quantization()
        scales = set(self._vector(quantization, "Scale")) if quantization else ()
        zero_points = set(self._vector(quantization, "ZeroPoint", 8)) if quantization else ()
        return TensorInfo(
            name=self._text(tensor.Name()),
            shape=shape,
            dtype=names_of("TensorType")[tensor.Type()].lower(),
            bytes=length,
            scales=tuple(sorted(scales)),
            zero_points=tuple(sorted(zero_points)),
            data=buffer.DataAsNumpy() if length else None,
        )

    def _code(self, code: Any) -> tuple[str, int]:
        """Name and version of an operator."""
        custom = self._text(code.CustomCode())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return custom or names_of("BuiltinOperator")[builtin], code.Version()

    def _operator(
        self, op: Any, codes: list[tuple[str, int]], tensors: tuple[TensorInfo, ...]
    ) -> OperatorInfo:
        inputs, outputs = self._vector(op, "Inputs"), self._vector(op, "Outputs")
        name, version = codes[op.OpcodeIndex()]
        return OperatorInfo(
            name=name,
            inputs=tuple(None if index == -1 else tensors[_natural(index)] for index in inputs),
            outputs=tuple(tensors[_natural(index)] for index in outputs),
            options=self._custom_options(op) if name.startswith("Lce") else _builtin_options(op),
            version=version,
        )

    def _custom_options(self, op: Any) -> dict[str, int]:
        from flatbuffers import flexbuffers

        length = len(self._range(op.CustomOptionsLength(), 1))
        if length == 0:
            return {}
        root = flexbuffers.GetRoot(bytearray(op.CustomOptionsAsNumpy().tobytes()))
        if not root.IsMap:
            raise ValueError("custom options that are not a map")
        keys, values = root.AsMap.Keys, root.AsMap.Values
        names = [keys[i].AsKey for i in self._range(len(keys), 1)]
        return {str(name): int(values[i].AsInt) for i, name in enumerate(names)}


@functools.cache
def _option_fields(kind: int) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The class of a table of options, and of its numbers the names of field and method."""
    name = names_of("BuiltinOptions").get(kind, "")
    table, object_class = (getattr(schema(), found, None) for found in (name, f"{name}T"))
    if not kind or table is None or object_class is None:
        return None, ()
    fields = vars(object_class())
    numbers = [key for key, value in fields.items() if isinstance(value, bool | int | float)]
    return table, tuple((key, key[0].upper() + key[1:]) for key in numbers)


def _builtin_options(op: Any) -> dict[str, Any]:
    kind, found = _option_fields(op.BuiltinOptionsType()), op.BuiltinOptions()
    if kind[0] is None or found is None:
        return {}
    table = kind[0]()
    table.Init(found.Bytes, found.Pos)
    return {key: getattr(table, method)() for key, method in kind[1]}


def _names(
    indices: list[int], found: dict[int, list[str]], tensors: tuple[TensorInfo, ...]
) -> tuple[str, ...]:
    """A name an input or output, taken from those found: a tensor that is several outputs has several."""
    return tuple(found[i].pop(0) if found.get(i) else tensors[i].name for i in indices)


def _natural(index: int) -> int:
    if index < 0:
        raise ValueError(f"a tensor of index {index}")
    return index
