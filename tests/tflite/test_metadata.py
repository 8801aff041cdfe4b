"""Labels and normalization in the file, as the usual tools read them."""

import contextlib
import io
import json
import math
import os
import struct
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_sbn
from keras_sbn import cli
from keras_sbn.tflite import metadata
from keras_sbn.tflite.interpreter import open_interpreter
from keras_sbn.tflite.metadata import Metadata, mean_and_std, read_metadata, with_metadata
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish

LABELS = ["cat", "große Katze", "猫"]


def tiny(channels=3):
    model = keras.Sequential(
        [
            keras.Input((4, 4, channels), name="pixels"),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ],
        name="tiny",
    )
    keras_sbn.binarize(model)
    return model


@pytest.fixture(scope="module")
def plain():
    return {target: keras_sbn.convert(tiny(), target=target).content for target in ("lce", "tflite")}


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_the_file_with_metadata_computes_the_same(plain, target, rng):
    described = with_metadata(plain[target], LABELS, (0, 1))
    x = [rng.random((3, 4, 4, 3), "float32")]
    wanted = open_interpreter(plain[target], target).predict(x)
    np.testing.assert_array_equal(open_interpreter(described, target).predict(x), wanted)
    assert (
        str(keras_sbn.inspect(described)).splitlines()[:-1]
        == (str(keras_sbn.inspect(plain[target])).splitlines()[:-1])
    )


def test_convert_takes_labels_and_range():
    converted = keras_sbn.convert(tiny(), labels=LABELS, input_range=(-1, 1))
    assert read_metadata(converted.content) == Metadata(tuple(LABELS), (-1.0, 1.0))
    assert converted.report.file_bytes == len(converted.content)


def test_labels_are_a_zip_archive_behind_the_model(plain):
    with zipfile.ZipFile(io.BytesIO(with_metadata(plain["lce"], LABELS))) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "cat\ngroße Katze\n猫\n"


def test_the_same_model_and_labels_give_the_same_bytes(plain):
    assert with_metadata(plain["lce"], LABELS) == with_metadata(plain["lce"], LABELS)


def test_a_file_that_takes_the_image_says_so():
    folded = keras_sbn.fold(tiny(), input_scaling=(1 / 255, 0))
    converted = keras_sbn.convert(folded, target="tflite", labels=LABELS)
    assert read_metadata(converted.content).input_range == (0.0, 255.0)
    with pytest.raises(ValueError, match=r"\(0, 255\) or left out: input 'pixels' takes the 8-bit image"):
        keras_sbn.convert(folded, target="tflite", input_range=(0, 1))


def test_a_file_without_metadata_says_nothing(plain):
    assert read_metadata(plain["tflite"]) == Metadata(None, None)
    assert read_metadata(with_metadata(plain["tflite"], LABELS)) == Metadata(tuple(LABELS), None)
    assert read_metadata(with_metadata(plain["tflite"], None, (0, 1))) == Metadata(None, (0.0, 1.0))


@given(st.floats(-8, 8), st.floats(0.01, 16))
def test_mean_and_std_take_0_and_255_to_the_range(low, width):
    mean, std = mean_and_std((low, low + width))
    assert (0 - mean) / std == pytest.approx(low, abs=1e-6)
    assert (255 - mean) / std == pytest.approx(low + width, abs=1e-6)


def test_the_mean_of_an_image_over_255_is_not_a_negative_zero():
    assert math.copysign(1, mean_and_std((0, 1))[0]) == 1


def test_the_buffer_is_the_metadata_schema_s(plain):
    model = schema().Model.GetRootAs(with_metadata(plain["lce"], LABELS, (0, 1), name="n"), 0)
    (entry,) = [model.Metadata(i) for i in range(model.MetadataLength())]
    assert entry.Name() == b"TFLITE_METADATA"
    data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"
    assert struct.pack("<f", 255.0) in data


@pytest.fixture(scope="module")
def displayed():
    """What MetadataDisplayer of tflite-support says of a file, in a process of its own.

    It cannot be in one process with TensorFlow or JAX, and asks for an older protobuf than they do: name
    the Python of an environment that has it (`pip install tflite-support`; libusb-1.0 has to be there) in
    TFLITE_SUPPORT_PYTHON.
    """
    python = os.environ.get("TFLITE_SUPPORT_PYTHON", sys.executable)
    code = (
        "import json, sys\n"
        "from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer\n"
        "if sys.argv[1:]:\n"
        "    found = MetadataDisplayer.with_model_file(sys.argv[1])\n"
        "    labels = found.get_associated_file_buffer('labels.txt').decode()\n"
        "    print(json.dumps([json.loads(found.get_metadata_json()), labels]))\n"
    )
    command = [python, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "TFLITE_SUPPORT_PYTHON" not in os.environ, done.stderr
        pytest.skip("needs tflite-support: TFLITE_SUPPORT_PYTHON")
    return lambda path: json.loads(subprocess.check_output([*command, str(path)], text=True))


@pytest.mark.parametrize(("channels", "kind"), [(1, "GRAYSCALE"), (3, "RGB"), (2, None)])
def test_tflite_support_reads_it(displayed, channels, kind, tmp_path):
    converted = keras_sbn.convert(tiny(channels), labels=LABELS, input_range=(-1, 1))
    metadata, labels = displayed(converted.save(tmp_path / "model.tflite"))
    (graph,) = metadata["subgraph_metadata"]
    (given_,), (taken,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert given_["process_units"][0]["options"] == {"mean": [127.5], "std": [127.5]}
    assert given_["stats"] == {"max": [1.0], "min": [-1.0]}
    assert given_["content"]["content_properties"].get("color_space") == kind
    assert taken["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert labels.splitlines() == LABELS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["one"]}, r"a label for each of the 3 classes of output .* Received: 1 labels"),
        ({"labels": "abc"}, r"a sequence of names. Received: the text 'abc'"),
        ({"labels": ["a", " ", "c"]}, r"none of them empty. Received: ' '"),
        ({"labels": ["a", "b\nc", "d"]}, "of one line each"),
        ({"input_range": (1, 0)}, r"low below high. Received: input_range=\(1, 0\)"),
        ({"input_range": (0, float("inf"))}, "finite"),
    ],
)
def test_what_does_not_fit_is_an_error(plain, arguments, message):
    with pytest.raises(ValueError, match=message):
        with_metadata(plain["lce"], **arguments)


def test_metadata_is_not_added_twice(plain):
    with pytest.raises(ValueError, match="without TFLite metadata"):
        with_metadata(with_metadata(plain["lce"], LABELS), LABELS)


def test_several_outputs_are_an_error():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)])
    with pytest.raises(
        ValueError, match=r"one input and one output to describe. Received: 1 inputs and 2"
    ):
        keras_sbn.convert(model, labels=["a", "b"])


def test_metadata_without_content_is_an_error(plain):
    content = with_metadata(plain["lce"], LABELS, (0, 1))
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    file.metadata[-1].buffer = 0
    with pytest.raises(ValueError, match="its buffer, number 0, is empty"):
        read_metadata(finish(file))


def test_says_what_is_wrong_with_metadata(plain, monkeypatch):
    content = with_metadata(plain["lce"], LABELS, (0, 1))
    with pytest.raises(ValueError, match=r"Expected whole TFLite metadata.*metadata that begins with"):
        read_metadata(content.replace(b"M001", b"M999"))
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    packed = bytearray(file.buffers[file.metadata[-1].buffer].data)
    # The root table's subgraphs, whose vector says that it is longer than all of the metadata.
    root = int.from_bytes(packed[:4], "little")
    table = root - int.from_bytes(packed[root : root + 4], "little", signed=True)
    field = root + int.from_bytes(packed[table + 10 : table + 12], "little")
    vector = field + int.from_bytes(packed[field : field + 4], "little")
    packed[vector : vector + 4] = (2**20).to_bytes(4, "little")
    file.buffers[file.metadata[-1].buffer].data = list(packed)
    with pytest.raises(ValueError, match=f"a vector of {2**20} elements"):
        read_metadata(finish(file))
    monkeypatch.setattr(metadata, "_LONGEST_LABELS_FILE", 3)
    with pytest.raises(ValueError, match=r"labels of \d+ bytes"):
        read_metadata(content)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_metadata_is_an_error_or_harmless(plain, data):
    content = bytearray(with_metadata(plain["lce"], LABELS, (0, 1)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_metadata(bytes(content))


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny().save("model.keras")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    assert cli.main(["convert", "model.keras", "--labels", "labels.txt", "--input-range", "0", "1"]) == 0
    content = (tmp_path / "model.tflite").read_bytes()
    assert read_metadata(content) == Metadata(("a", "b", "c"), (0.0, 1.0))
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    assert cli.main(["convert", "model.keras", "--labels", "labels.txt"]) == 2
    assert "Expected a text file in UTF-8" in capsys.readouterr().err
    assert cli.main(["convert", "model.keras", "--labels", "missing.txt"]) == 2
