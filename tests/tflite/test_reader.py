import numpy as np
import pytest
from flatbuffers import flexbuffers

from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import ModelWriter, finish


def _file():
    writer = ModelWriter("test")
    a = writer.tensor("a", (1, 3), "float32")
    buffer = writer.buffer(np.arange(6, dtype=np.float32).tobytes(), "float32")
    kernel = writer.tensor("kernel", (2, 3), "float32", buffer=buffer)
    b = writer.tensor("b", (1, 2), "float32")
    writer.operator("FULLY_CONNECTED", [a, kernel, -1], [b], ("FullyConnected", {}))
    c = writer.tensor("c", (1, 1), "int32")
    writer.operator("LceQuantize", [b], [c], ("", {"x": 3}))
    return writer.finish([a], [c])


def test_reads_what_was_written():
    info = read_file(_file())
    assert info.size == len(_file())
    assert [op.name for op in info.operators] == ["FULLY_CONNECTED", "LceQuantize"]
    dense, quantize = info.operators
    assert [t and t.name for t in dense.inputs] == ["a", "kernel", None]
    assert dense.constant_bytes == 24
    assert quantize.options == {"x": 3}
    assert (info.inputs[0].shape, info.outputs[0].dtype) == ((1, 3), "int32")


def test_constants_lie_at_multiples_of_sixteen_bytes_and_equal_ones_are_stored_once():
    writer = ModelWriter("test")
    marker = np.frombuffer(b"0123456789abcdefghi", np.uint8)
    places = [writer.buffer(data.tobytes(), "uint8") for data in (marker, marker, marker[::-1])]
    assert places[0] == places[1] != places[2]
    content = writer.finish([], [])
    assert content.count(marker.tobytes()) == 1
    assert content.index(marker.tobytes()) % 16 == 0
    assert content.index(marker[::-1].tobytes()) % 16 == 0


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04 not a model at all", b"\0" * 64])
def test_refuses_what_is_not_a_model(content):
    with pytest.raises(ValueError, match="Expected a TFLite model"):
        read_file(content)


@pytest.mark.parametrize("cut", range(1, 7))
def test_truncated_files_end_in_a_clear_error(cut):
    whole = _file()
    with pytest.raises(ValueError, match="Expected a whole TFLite model"):
        read_file(whole[: len(whole) * cut // 8])


def _changed(change):
    """The file after a change of its tables."""
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(_file(), 0))
    change(file)
    return finish(file)


def _without_subgraph(file):
    file.subgraphs = []


def _tensor_without_buffer(file):
    file.subgraphs[0].tensors[0].buffer = 99


def _negative_shape(file):
    file.subgraphs[0].tensors[0].shape = [1, -3]


def _negative_tensor(file):
    file.subgraphs[0].operators[0].inputs = [-2]


def _options_of_a_number(file):
    file.subgraphs[0].operators[1].customOptions = list(flexbuffers.Dumps(7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_subgraph, "the model has no subgraph"),
        (_tensor_without_buffer, r"a constant number 99 of \d+"),
        (_negative_shape, r"a tensor of shape \(1, -3\)"),
        (_negative_tensor, "a tensor of index -2"),
        (_options_of_a_number, "custom options that are not a map"),
    ],
)
def test_says_what_is_wrong_with_a_table(change, message):
    with pytest.raises(ValueError, match=f"Expected a whole TFLite model.*{message}.*damaged"):
        read_file(_changed(change))


@pytest.mark.parametrize(
    ("vector", "length", "message"),
    [
        (np.arange(6, dtype="<f4").tobytes(), 24, r"a constant of \d+ bytes in a file of"),
        (np.array([2, 3], "<i4").tobytes(), 2, r"a vector of \d+ elements in a file of"),
    ],
)
def test_says_that_a_vector_is_longer_than_the_file(vector, length, message):
    """The four bytes before a vector are its length."""
    content = bytearray(_file())
    before = length.to_bytes(4, "little") + vector
    at = content.index(before)
    content[at : at + 4] = (2**30).to_bytes(4, "little")
    with pytest.raises(ValueError, match=message):
        read_file(bytes(content))
