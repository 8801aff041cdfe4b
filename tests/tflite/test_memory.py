"""How much is in memory at once, of a network whose tensors are counted by hand."""

from keras_sbn.tflite.memory import bytes_of, live_bytes
from keras_sbn.tflite.reader import FileInfo, OperatorInfo, TensorInfo


def _tensor(name, *shape, dtype="int8"):
    return TensorInfo(name, shape, dtype, 0)


def _file(operators, inputs, outputs):
    return FileInfo(0, inputs, outputs, operators, (), (), ())


def test_a_tensor_is_there_from_its_operator_to_its_last_reader():
    x, a, b, y = (_tensor(name, 1, size) for name, size in zip("xaby", (10, 20, 30, 5), strict=True))
    constant = TensorInfo("k", (100,), "int8", 100)
    operators = (
        OperatorInfo("CONV_2D", (x, constant), (a,)),
        OperatorInfo("RELU", (a,), (b,)),
        # The input is read once more: it was there all the time.
        OperatorInfo("ADD", (b, x), (y,)),
    )
    assert live_bytes(_file(operators, (x,), (y,))) == [10 + 20, 10 + 20 + 30, 10 + 30 + 5]


def test_an_output_stays_to_the_end():
    x, a, y = _tensor("x", 1, 4), _tensor("a", 1, 8), _tensor("y", 1, 2)
    operators = (OperatorInfo("RELU", (x,), (a,)), OperatorInfo("RELU", (x,), (y,)))
    assert live_bytes(_file(operators, (x,), (a, y))) == [4 + 8, 4 + 8 + 2]


def test_bits_of_the_type_count():
    assert bytes_of(_tensor("a", 3, dtype="int16")) == 6
    assert bytes_of(_tensor("b", 5, dtype="int4")) == 3
    assert bytes_of(_tensor("c", 5, dtype="string")) == 0
