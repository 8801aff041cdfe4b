"""Standard TFLite metadata inside a .tflite file: how the input is normalized, and what the classes are.

A model of the TFLite schema has a list of named buffers, and the one named TFLITE_METADATA holds a second
flatbuffer, of the metadata schema (TensorFlow Lite Support, metadata_schema.fbs, file identifier M001).
Files that it names, such as that of the labels, follow the model as a zip archive: a flatbuffer is read
from its start and a zip archive from its end, so the file is both. Android Studio, MediaPipe and
tflite-support's MetadataDisplayer read it, and so do `zipfile` and `flatbuffers` alone.

The schema's tables are few and no package that is wanted here ships them, so their fields are written by
number; the numbers are in the comments beside them.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.tflite.reader import DAMAGED, TensorInfo, read_file
from keras_sbn.tflite.schema import made, schema
from keras_sbn.tflite.writer import finish

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_LABELS_FILE = "labels.txt"
#: The version of the schema in which all that is written here was there.
_PARSER_VERSION = "1.0.0"

# Values of the schema's enumerations and unions.
_AXIS_LABELS = 2
_FEATURES, _IMAGE = 1, 2
_NORMALIZATION = 1
_COLOR_SPACES = {3: 1, 1: 2}

#: An image has values 0 to 255.
_LARGEST = 255
#: What damaged archives raise, beside what damaged flatbuffers do.
_OF_ARCHIVES = (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_LONGEST_LABELS_FILE = 2**24


@dataclass(frozen=True)
class Metadata:
    """What a file says of its input and output.

    Attributes:
        labels: Names of the classes in the order of the output, or `None`.
        input_range: What the 8-bit values 0 and 255 become before the network sees them, or `None`.
    """

    labels: tuple[str, ...] | None
    input_range: tuple[float, float] | None


def with_metadata(
    content: bytes,
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    name: str = "",
) -> bytes:
    """Adds metadata to a model of one input and one output.

    Metadata tells how to make the input of an 8-bit image: ``(image - mean) / std``, which `input_range`
    gives, as it is what 0 and 255 become. A file that takes the 8-bit image itself has the range
    (0, 255), which need not be given.

    Args:
        content: The bytes of a `.tflite` file, without metadata.
        labels: Names of the classes, in the order of the output.
        input_range: `(low, high)`: the network was trained on ``low + image * (high - low) / 255``.
        name: Name of the model.

    Returns:
        The bytes of the file with its metadata and, with labels, a zip archive of `labels.txt` behind
        it.

    Raises:
        ValueError: If the file is no TFLite model, has metadata or several inputs or outputs, or labels
            or range do not fit it.
    """
    info = read_file(content)
    if len(info.inputs) != 1 or len(info.outputs) != 1:
        raise ValueError(
            "Expected a model of one input and one output to describe. Received: "
            f"{len(info.inputs)} inputs and {len(info.outputs)} outputs"
        )
    (source,), (target,) = info.inputs, info.outputs
    known = None if labels is None else _checked_labels(labels, target)
    interval = _checked_range(input_range, source)
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    entries = list(file.metadata or [])
    if any(entry.name == _NAME for entry in entries):
        raise ValueError("Expected a model without TFLite metadata. Received: a model that has some")
    packed = _pack(name, source, target, known is not None, interval)
    file.metadata = [*entries, made("Metadata", name=_NAME.decode(), buffer=len(file.buffers))]
    file.buffers.append(made("Buffer", data=np.frombuffer(packed, np.uint8)))
    return finish(file) if known is None else _with_file(finish(file), _LABELS_FILE, "\n".join(known))


def read_metadata(content: bytes) -> Metadata:
    """Reads labels and range from a file of any converter; `None` where it has none.

    Args:
        content: The bytes of a `.tflite` file.

    Raises:
        ValueError: If the file is no TFLite model, or its metadata is damaged.
    """
    read_file(content)
    model = schema().Model.GetRootAs(content, 0)
    try:
        found = [model.Metadata(i) for i in range(model.MetadataLength())]
        places = [entry.Buffer() for entry in found if entry.Name() == _NAME]
        if not places:
            return Metadata(None, None)
        buffer = model.Buffers(places[0])
        if buffer is None or buffer.DataLength() == 0:
            raise ValueError(f"its buffer, number {places[0]}, is empty")
        return _unpack(buffer.DataAsNumpy().tobytes(), content)
    except (*DAMAGED, *_OF_ARCHIVES) as error:
        raise ValueError(
            f"Expected whole TFLite metadata. Received: {type(error).__name__}: {error}"
        ) from error


def _checked_labels(labels: Sequence[str], target: TensorInfo) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"Expected `labels` to be a sequence of names. Received: the text {labels!r}")
    known = tuple(str(label) for label in labels)
    classes = target.shape[-1] if target.shape else 0
    if len(known) != classes:
        raise ValueError(
            f"Expected a label for each of the {classes} classes of output {target.name!r}. Received: "
            f"{len(known)} labels"
        )
    broken = [label for label in known if not label.strip() or "\n" in label or "\r" in label]
    if broken:
        raise ValueError(f"Expected labels of one line each, none of them empty. Received: {broken[0]!r}")
    return known


def _checked_range(given: tuple[float, float] | None, source: TensorInfo) -> tuple[float, float] | None:
    raw = source.dtype == "uint8" and source.scales in ((), (1.0,)) and source.zero_points in ((), (0,))
    if given is None:
        return (0.0, float(_LARGEST)) if raw else None
    low, high = (float(value) for value in given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            "Expected `input_range` to be (low, high), finite, low below high. Received: "
            f"input_range={tuple(given)}"
        )
    if raw and (low, high) != (0.0, float(_LARGEST)):
        raise ValueError(
            f"Expected `input_range` to be (0, 255) or left out: input {source.name!r} takes the 8-bit "
            f"image itself. Received: input_range={tuple(given)}"
        )
    return low, high


def mean_and_std(input_range: tuple[float, float]) -> tuple[float, float]:
    """The `mean` and `std` with which ``(image - mean) / std`` takes 0 to low and 255 to high."""
    low, high = input_range
    std = _LARGEST / (high - low)
    return 0.0 - low * std, std


def _with_file(content: bytes, name: str, text: str) -> bytes:
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        # A fixed time, so that the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), f"{text}\n")
    return stream.getvalue()


#: A table to be written: its fields by number, each a byte, text, a vector or a table.
_Table = dict[int, Any]


def _pack(
    name: str,
    source: TensorInfo,
    target: TensorInfo,
    labelled: bool,
    input_range: tuple[float, float] | None,
) -> bytes:
    """The metadata as a flatbuffer."""
    import flatbuffers

    channels = source.shape[-1] if len(source.shape) == 4 else 0
    image = channels in _COLOR_SPACES
    content: _Table = {
        0: _IMAGE if image else _FEATURES,  # content_properties_type
        1: {0: _COLOR_SPACES[channels]} if image else {},  # content_properties: color_space
    }
    given: _Table = {
        0: "image" if image else source.name,  # name
        3: content,  # content
    }
    if input_range is not None:
        mean, std = (np.array([value], np.float32) for value in mean_and_std(input_range))
        low, high = (np.array([value], np.float32) for value in input_range)
        given[1] = f"8-bit values become {input_range[0]:g} to {input_range[1]:g}."  # description
        given[4] = [{0: _NORMALIZATION, 1: {0: mean, 1: std}}]  # process_units: options_type, options
        given[5] = {0: high, 1: low}  # stats: max, min
    taken: _Table = {0: "score", 1: "A score for each class.", 3: {0: _FEATURES, 1: {}}}
    if labelled:
        # associated_files: name, description, type
        taken[6] = [{0: _LABELS_FILE, 1: "The classes, one a line.", 2: _AXIS_LABELS}]
    model: _Table = {
        0: name or target.name,  # name
        3: [{2: [given], 3: [taken]}],  # subgraph_metadata: input_tensor_metadata, output_tensor_metadata
        7: _PARSER_VERSION,  # min_parser_version
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: Any, table: _Table) -> int:
    """Writes a table after what it refers to, and returns its place."""
    places = {
        slot: _reference(builder, value) for slot, value in table.items() if not isinstance(value, int)
    }
    builder.StartObject(1 + max(table, default=-1))
    for slot, value in table.items():
        if slot in places:
            builder.PrependUOffsetTRelativeSlot(slot, places[slot], 0)
        else:
            builder.PrependUint8Slot(slot, value, 0)
    return int(builder.EndObject())


def _reference(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, dict):
        return _table(builder, value)
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    places = [_reference(builder, element) for element in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _unpack(packed: bytes, content: bytes) -> Metadata:
    if packed[4:8] != _IDENTIFIER:
        raise ValueError(f"metadata that begins with {packed[:8]!r}")
    from flatbuffers import encode, number_types
    from flatbuffers.table import Table

    def follow(table: Any, slot: int) -> Any:
        """The table that a field refers to, or `None`."""
        offset = table.Offset(4 + 2 * slot) if table is not None else 0
        return Table(packed, table.Indirect(table.Pos + offset)) if offset else None

    def elements(table: Any, slot: int) -> list[Any]:
        offset = table.Offset(4 + 2 * slot) if table is not None else 0
        if not offset:
            return []
        length, start = table.VectorLen(offset), table.Vector(offset)
        if not 0 <= 4 * length <= len(packed):
            raise ValueError(f"a vector of {length} elements")
        return [Table(packed, table.Indirect(start + 4 * i)) for i in range(length)]

    def byte(table: Any, slot: int) -> int:
        offset = table.Offset(4 + 2 * slot)
        return int(table.Get(number_types.Uint8Flags, table.Pos + offset)) if offset else 0

    def number(table: Any, slot: int) -> float | None:
        """The first element of a vector of floats."""
        offset = table.Offset(4 + 2 * slot) if table is not None else 0
        if not offset or table.VectorLen(offset) < 1:
            return None
        return float(table.Get(number_types.Float32Flags, table.Vector(offset)))

    model = Table(packed, encode.Get(number_types.UOffsetTFlags.packer_type, packed, 0))
    (graph, *_) = elements(model, 3) or [None]
    (given, *_) = elements(graph, 2) or [None]
    (taken, *_) = elements(graph, 3) or [None]
    interval = None
    for unit in elements(given, 4):
        options = follow(unit, 1)
        mean, std = number(options, 0), number(options, 1)
        if byte(unit, 0) == _NORMALIZATION and mean is not None and std:
            interval = (-mean / std + 0.0, (_LARGEST - mean) / std)
    labels = None
    for file in elements(taken, 6):
        if byte(file, 2) == _AXIS_LABELS:
            name = file.String(file.Pos + file.Offset(4)).decode()
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.getinfo(name).file_size > _LONGEST_LABELS_FILE:
                    raise ValueError(f"labels of {archive.getinfo(name).file_size} bytes")
                labels = tuple(archive.read(name).decode().splitlines())
    return Metadata(labels, interval)
