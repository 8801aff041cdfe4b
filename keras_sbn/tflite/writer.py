"""Writes a TFLite flatbuffer: tensors, operators, and the bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_sbn.extras import remedy
from keras_sbn.tflite.schema import made, schema

#: The file identifier and version of a TFLite model.
_IDENTIFIER = b"TFL3"
_VERSION = 3
#: Kernels map weights straight from the file and may load 16 bytes at once.
_ALIGNMENT = 16
#: What TensorFlow calls the signature of a model that has one.
_SIGNATURE = "serving_default"


class ModelWriter:
    """Collects the tensors and operators of one subgraph, in execution order, and serializes them.

    Tensors are named by their index. Constants with equal contents share one buffer.
    """

    def __init__(self, description: str) -> None:
        self._graph = made("SubGraph", name="main", tensors=[], operators=[])
        self._model = made(
            "Model",
            version=_VERSION,
            description=description,
            buffers=[made("Buffer")],
            operatorCodes=[],
            subgraphs=[self._graph],
        )
        self._codes: dict[str, int] = {}
        self._constants: dict[tuple[str, bytes], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scale: float | Sequence[float] | None = None,
        zero_point: int = 0,
        axis: int = 0,
        buffer: int = 0,
    ) -> int:
        """Adds a tensor and returns its index; one without a buffer is no constant."""
        sizes = [int(size) for size in shape]
        tensor = made("Tensor", name=name, shape=sizes, type=_type(dtype), buffer=buffer)
        if scale is not None:
            scales = list(np.atleast_1d(scale).astype(float))
            zero_points = [zero_point] * len(scales)
            tensor.quantization = made(
                "QuantizationParameters", scale=scales, zeroPoint=zero_points, quantizedDimension=axis
            )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def buffer(self, data: bytes, dtype: str) -> int:
        """Returns the index of the buffer of constants of a type; it is added where there is none yet."""
        key = (dtype, data)
        if key not in self._constants:
            self._constants[key] = len(self._model.buffers)
            self._model.buffers.append(made("Buffer", data=np.frombuffer(data, np.uint8)))
        return self._constants[key]

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: tuple[str, dict[str, Any]] | None = None,
        version: int = 1,
    ) -> None:
        """Adds an operator.

        Args:
            name: Name in the schema, as "CONV_2D"; one that starts with "Lce" is a custom operator.
            inputs: Tensor indices; -1 for one left out.
            outputs: Tensor indices.
            options: Name of the options table without "Options", and its fields. A custom operator has no
                table: its fields are integers, and are written as a flexbuffer map.
            version: Version of the operator the runtime has to know.
        """
        custom = name.startswith("Lce")
        code = getattr(schema().BuiltinOperator, "CUSTOM" if custom else name)
        if name not in self._codes:
            self._codes[name] = len(self._model.operatorCodes)
            # Readers from before the list outgrew a byte look at the deprecated code.
            entry = made("OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, 127))
            entry.customCode = name if custom else None
            self._model.operatorCodes.append(entry)
        place = self._codes[name]
        entry = self._model.operatorCodes[place]
        entry.version = max(entry.version, version)
        op = made("Operator", opcodeIndex=place, inputs=list(inputs), outputs=list(outputs))
        self._graph.operators.append(op)
        table, fields = options or ("", {})
        if custom:
            op.customOptions = np.frombuffer(_flexbuffer(fields), np.uint8)
        elif table:
            op.builtinOptionsType = getattr(schema().BuiltinOptions, f"{table}Options")
            op.builtinOptions = made(f"{table}Options", **fields)

    def finish(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
    ) -> bytes:
        """Returns the bytes of the model with these input and output tensors.

        Args:
            inputs: Tensor indices.
            outputs: Tensor indices.
            input_names: Names under which the signature of the file has the inputs; without names the
                file has no signature.
            output_names: Likewise of the outputs.
        """
        self._graph.inputs = list(inputs)
        self._graph.outputs = list(outputs)
        if input_names and output_names:
            signature = made("SignatureDef", signatureKey=_SIGNATURE, subgraphIndex=0)
            signature.inputs = _tensor_map(input_names, inputs)
            signature.outputs = _tensor_map(output_names, outputs)
            self._model.signatureDefs = [signature]
        return finish(self._model)


def _tensor_map(names: Sequence[str], tensors: Sequence[int]) -> list[Any]:
    pairs = zip(names, tensors, strict=True)
    return [made("TensorMap", name=name, tensorIndex=index) for name, index in pairs]


def _type(dtype: str) -> int:
    found: int | None = getattr(schema().TensorType, dtype.upper(), None)
    if found is None:
        raise ValueError(
            f"Expected a TFLite schema that has {dtype}. Received: that of {schema().__file__}, "
            f"which is older. {remedy('convert')} brings a newer one."
        )
    return found


def _flexbuffer(fields: dict[str, int]) -> bytes:
    """A map as a flexbuffer; no bytes where it is empty."""
    from flatbuffers import flexbuffers

    if not fields:
        return b""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key in sorted(fields):
            builder.Int(key, fields[key])
    return bytes(builder.Finish())


def finish(model: Any) -> bytes:
    """Returns the bytes of a model of the schema's object classes."""
    for index, buffer in enumerate(model.buffers):
        data = None if buffer.data is None else np.asarray(buffer.data, np.uint8)
        model.buffers[index] = made("Buffer", data=data)
        model.buffers[index].Pack = functools.partial(_pack_aligned, model.buffers[index].Pack)
    builder = _sharing_builder()
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


#: Longer vectors are constants, which `ModelWriter` shares.
_SHARED_BYTES = 1024


def _sharing_builder() -> Any:
    """A builder that writes equal strings and equal short vectors of numbers once.

    Most shapes, options and names of constants of a network are equal to others. The format reads a
    vector through its offset, and does not mind if two tables have the same.
    """
    import flatbuffers

    class SharingBuilder(flatbuffers.Builder):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self._strings: dict[Any, int] = {}
            self._vectors: dict[tuple[int, int, bytes], int] = {}
            self._started: tuple[int, int, int, int] | None = None
            #: Vectors begin at multiples of so many bytes, and more where their elements need it.
            self.alignment = 1

        def CreateString(self, text: Any, *args: Any) -> int:  # noqa: N802
            if text not in self._strings:
                self._started = None
                self._strings[text] = super().CreateString(text, *args)
            return self._strings[text]

        def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
            alignment = max(alignment, self.alignment)
            self._started = (int(self.Offset()), size, count, alignment)
            return super().StartVector(size, count, alignment)

        def PrependUOffsetTRelative(self, offset: int) -> Any:  # noqa: N802
            # Offsets are relative: equal bytes elsewhere mean something else.
            self._started = None
            return super().PrependUOffsetTRelative(offset)

        def EndVector(self, *args: Any) -> int:  # noqa: N802
            written = int(super().EndVector(*args))
            started, self._started = self._started, None
            if started is None or started[1] * started[2] > _SHARED_BYTES:
                return written
            before, size, count, alignment = started
            content = bytes(self.Bytes[self.Head() : self.Head() + 4 + size * count])
            known = self._vectors.setdefault((size, alignment, content), written)
            if known != written:
                self.head = len(self.Bytes) - before
            return known

    return SharingBuilder(1024)


def _pack_aligned(pack: Callable[[Any], Any], builder: Any) -> Any:
    """Writes a buffer with its data at a multiple of 16 bytes, as the schema asks for.

    The generated Python classes align vectors of bytes to one byte.
    """
    builder.alignment = _ALIGNMENT
    place = pack(builder)
    builder.alignment = 1
    return place
