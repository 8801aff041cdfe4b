"""TensorFlow Lite Micro on this machine: what it runs, and what it says of what it does not."""

import numpy as np
import pytest

from keras_sbn.extras import remedy
from keras_sbn.tflite import micro
from keras_sbn.tflite.interpreter import can_open, open_interpreter
from keras_sbn.tflite.writer import ModelWriter

needs_micro = pytest.mark.skipif(not micro.has_micro(), reason="tflite-micro is not installed")


def _file(dtype, operator="RELU"):
    writer = ModelWriter("test")
    scale = None if dtype == "float32" else 0.5
    x, y = (writer.tensor(name, (1, 2, 3), dtype, scale, 0) for name in "xy")
    writer.operator(operator, [x], [y])
    return writer.finish([x], [y])


@needs_micro
def test_it_runs_int16():
    interpreter = open_interpreter(_file("int16"), "micro")
    assert interpreter.runtime == "TensorFlow Lite Micro"
    assert interpreter.file.inputs[0].quantization == (0.5, 0)
    x = np.array([[[-3.0, 2.0, 0.5], [7.0, -0.5, 0.0]]])
    (y,) = interpreter.predict([x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert interpreter.arena_bytes() > 2 * x.size * 2
    assert micro.arena_bytes(_file("int16")) == interpreter.arena_bytes()


@needs_micro
def test_a_refused_file_says_why():
    reason = can_open(_file("int16", "REDUCE_MAX"), "micro")
    assert reason is not None
    assert "TensorFlow Lite Micro" in reason


@needs_micro
def test_with_a_choice_of_xnnpack_litert_runs_it():
    assert open_interpreter(_file("int16"), "micro", xnnpack=False).runtime != "TensorFlow Lite Micro"


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(micro, "file_of_package", lambda *_: None)
    # Without the cache: an extension cannot be loaded twice.
    monkeypatch.setattr(micro, "_extension", micro._extension.__wrapped__)
    with pytest.raises(ImportError, match="tflite-micro, which is not installed") as caught:
        micro.MicroInterpreter(_file("int16"))
    assert remedy("micro") in str(caught.value)
    monkeypatch.setattr(micro, "has_micro", lambda: False)
    assert micro.arena_bytes(_file("int16")) is None
