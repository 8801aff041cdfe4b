"""One-bit files in stock LiteRT: the signs and outputs of the Larq Compute Engine's own interpreter."""

import importlib.util
import sys

import numpy as np
import pytest
from conftest import digit_network, images, randomize
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from random_networks import binary_network

import keras_sbn
from keras_sbn import extras
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.tflite import interpreter, kernels
from keras_sbn.tflite.interpreter import LceInterpreter
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish

needs_kernels = pytest.mark.skipif(not kernels.has_kernels(), reason="needs keras-sbn-kernels and LiteRT")


def with_signs(content):
    """The file with every tensor of bits as an output too."""
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    graph = file.subgraphs[0]
    bits = schema().TensorType.INT32
    written = [
        index for op in graph.operators for index in op.outputs if graph.tensors[index].type == bits
    ]
    graph.outputs = [*graph.outputs, *written]
    return finish(file)


def compare(model, x, instructions=None):
    """Asserts equality of all bits and of the outputs."""
    content = keras_sbn.convert(model, target="lce").content
    for file in (content, with_signs(content)):
        expected = LceInterpreter(file, kernel="indirect").predict([x], dequantize=False)
        received = kernels.KernelsInterpreter(file, 1, instructions).predict([x], dequantize=False)
        for a, b in zip(expected, received, strict=True):
            assert a.dtype == b.dtype
            if a.dtype == np.float32:
                # Stock operators of two releases; LCE rounds the sums beside a border of zeros.
                np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(b, a)


@needs_kernels
def test_the_digit_network_is_lce_s_with_every_instruction_set(rng):
    model = _network(rng)
    usable = [name for name, has in kernels.instruction_sets().items() if has]
    assert "portable" in usable
    for name in usable:
        compare(model, images(rng, model.input_shape[1:], 4), name)


@needs_kernels
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_random_networks_are_lce_s(data):
    model, x = binary_network(data.draw)
    try:
        compare(model, x)
    except LoweringError:
        reject()  # LCE has no such operator


@needs_kernels
def test_ports_are_those_of_the_engine(rng):
    model = _network(rng)
    x = images(rng, model.input_shape[1:])
    content = keras_sbn.convert(model, target="lce", input_type="uint8", representative_data=x).content
    ours, theirs = kernels.KernelsInterpreter(content), LceInterpreter(content)
    for name in ("shapes", "types", "scales"):
        assert getattr(ours, f"input_{name}") == getattr(theirs, f"input_{name}")
        assert getattr(ours, f"output_{name}") == getattr(theirs, f"output_{name}")


@needs_kernels
def test_a_damaged_file_is_an_error_with_the_remedy(rng):
    content = keras_sbn.convert(_network(rng), target="lce").content
    with pytest.raises(RuntimeError, match=r"damaged.*Convert the model again"):
        kernels.KernelsInterpreter(content[: len(content) // 2])


@needs_kernels
def test_a_stock_file_runs_too(rng):
    model = _network(rng)
    content = keras_sbn.convert(model, target="tflite").content
    x = images(rng, model.input_shape[1:], 2)
    expected = np.asarray(model(x))
    np.testing.assert_allclose(kernels.KernelsInterpreter(content).predict([x])[0], expected, atol=1e-5)


def test_without_the_package_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not kernels.has_kernels()
    with pytest.raises(ImportError, match=r"needs keras-sbn-kernels.*pip install ./kernels"):
        kernels.KernelsInterpreter(b"")


def test_asking_whether_they_are_there_imports_nothing():
    before = set(sys.modules)
    kernels.has_kernels()
    assert "keras_sbn_kernels.model" not in set(sys.modules) - before


def _network(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


@needs_kernels
def test_files_run_in_them_where_the_engine_is_not_installed(rng, monkeypatch):
    model = _network(rng)
    converted = keras_sbn.convert(model, target="lce")
    monkeypatch.setattr(interpreter, "why_no_lce", lambda: "not installed")
    found = keras_sbn.verify(converted, model, images(rng, model.input_shape[1:], 8))
    assert found
    assert found.runtime.startswith("LiteRT, one-bit kernels, ")


def test_with_the_engine_files_run_in_it_and_kernels_that_are_asked_for_are_its_own(monkeypatch):
    opened = []
    monkeypatch.setattr(interpreter, "LceInterpreter", lambda *given: opened.append(("LCE", *given)))
    monkeypatch.setattr(kernels, "KernelsInterpreter", lambda *given: opened.append(("own", *given)))
    monkeypatch.setattr(kernels, "has_kernels", lambda: True)
    monkeypatch.setattr(interpreter, "why_no_lce", lambda: None)
    interpreter.open_interpreter(b"file", "lce", 3)
    monkeypatch.setattr(interpreter, "why_no_lce", lambda: "not installed")
    interpreter.open_interpreter(b"file", "lce", 3)
    interpreter.open_interpreter(b"file", "lce", 3, kernel="default")
    assert extras.why_not_run("lce") is None
    assert opened == [
        ("LCE", b"file", 3, None, None),
        ("own", b"file", 3),
        ("LCE", b"file", 3, "default", None),
    ]
