import numpy as np
import pytest

from keras_sbn.conversion.reader import read_file
from keras_sbn.conversion.writer import ModelWriter


def _file():
    writer = ModelWriter("test")
    a = writer.tensor("a", (1, 3), "float32")
    kernel = writer.constant("kernel", np.arange(6, dtype=np.float32).reshape(2, 3))
    b = writer.tensor("b", (1, 2), "float32")
    writer.operator("FULLY_CONNECTED", [a, kernel, -1], [b], ("FullyConnected", {}))
    c = writer.tensor("c", (1, 1), "int32")
    writer.custom_operator("LceQuantize", [b], [c], {"x": 3})
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
    writer.constant("one", marker)
    writer.constant("two", marker)
    writer.constant("three", marker[::-1])
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
