"""One-bit files in stock LiteRT: the signs and outputs of the Larq Compute Engine's own interpreter."""

import sys

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from random_networks import binary_network, refused_layers
from small_models import run_child

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
    # A signature names fewer outputs than the copy has.
    file.signatureDefs = []
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
    if refused_layers(model):
        reject()
    try:
        compare(model, x)
    except LoweringError:
        reject()  # LCE has no such operator


@needs_kernels
def test_ports_are_those_of_the_engine(rng):
    model = _network(rng)
    x = images(rng, model.input_shape[1:])
    content = keras_sbn.convert(model, target="lce", input_type="uint8", representative_data=x).content
    ports, engine = kernels.KernelsInterpreter(content).file, LceInterpreter(content)._engine
    for which in ("input", "output"):
        tensors = getattr(ports, f"{which}s")
        assert [tensor.shape for tensor in tensors] == [
            tuple(s) for s in getattr(engine, f"{which}_shapes")
        ]
        types = [np.dtype(kind).name for kind in getattr(engine, f"{which}_types")]
        assert [tensor.dtype for tensor in tensors] == types
        scales = zip(
            getattr(engine, f"{which}_scales"), getattr(engine, f"{which}_zero_points"), strict=True
        )
        assert [tensor.quantization for tensor in tensors] == [
            pair if pair[0] else None for pair in scales
        ]
    assert ports.inputs[0].quantization == (0.125, 16)


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
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(kernels.KernelsInterpreter(content).predict([x])[0], expected, atol=1e-5)


def test_without_the_package_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setattr(extras, "installed", lambda name: False)
    assert not kernels.has_kernels()
    with pytest.raises(
        ImportError, match=r"keras-sbn-kernels is not installed; pip install ./kernels, in"
    ):
        kernels.KernelsInterpreter(b"")
    monkeypatch.setattr(extras, "installed", lambda name: name == "keras_sbn_kernels")
    with pytest.raises(ImportError, match=r"needs LiteRT, which is not .* 'keras-sbn\[litert\]'"):
        kernels.KernelsInterpreter(b"")


@pytest.mark.parametrize(("version", "fits"), [("1.4.0", False), ("2.0.2", False), ("2.1.0", True)])
def test_a_litert_that_takes_no_operators_of_others_is_an_error_with_the_remedy(
    version, fits, monkeypatch
):
    monkeypatch.setattr(extras, "installed", lambda name: True)
    monkeypatch.setattr(extras.metadata, "version", lambda name: version)
    assert kernels.has_kernels() == fits
    if not fits:
        with pytest.raises(ImportError, match=f"this is {version}; pip install --upgrade ai-edge-litert"):
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
def test_the_file_runs_in_them_unless_another_runtime_is_asked_for(rng):
    model = _network(rng)
    converted = keras_sbn.convert(model, target="lce")
    x = images(rng, model.input_shape[1:], 8)
    for runtime in (None, "kernels"):
        found = keras_sbn.verify(converted, model, x, runtime=runtime, workers=1 if runtime else 2)
        assert found
        assert "the file ran in LiteRT, one-bit kernels, " in str(found)
        (latency,) = keras_sbn.benchmark([converted], runs=2, num_threads=2, runtime=runtime)
        assert latency.runtime.startswith("LiteRT, one-bit kernels, ")
        assert latency.num_threads == 2
    np.testing.assert_array_equal(converted.predict(x, runtime="kernels"), converted.predict(x))


@needs_kernels
@pytest.mark.once
def test_a_program_that_keeps_its_models_ends_without_a_crash():
    # A segmentation fault while the interpreter of Python ends would be the exit code of the program.
    said = run_child(
        """
        import json, keras, keras_sbn, numpy as np
        from keras_sbn import layers

        model = keras.Sequential([
            keras.Input((8, 8, 1)), layers.SelfBinarizingConv2D(8, 3), layers.BinaryBatchNormalization(),
            layers.SelfBinarizingActivation(), layers.SelfBinarizingConv2D(4, 3),
        ])
        keras_sbn.binarize(model)
        x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
        kept = {target: keras_sbn.convert(model, target) for target in ("lce", "tflite")}
        found = [keras_sbn.verify(converted, model, x) for converted in kept.values()]
        print(json.dumps([str(one) for one in found]))
        """
    )
    assert "one-bit kernels" in said[0]


@needs_kernels
def test_several_threads_of_the_kernels_give_the_same(rng):
    model = _network(rng)
    content = keras_sbn.convert(model, target="lce").content
    x = images(rng, model.input_shape[1:], 16)
    expected = kernels.KernelsInterpreter(with_signs(content)).predict([x], dequantize=False)
    for num_threads in (2, 5):
        several = interpreter.open_interpreter(with_signs(content), "lce", num_threads, runtime="kernels")
        for a, b in zip(expected, several.predict([x], dequantize=False), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(RuntimeError, match="1 to 256"):
        kernels.KernelsInterpreter(content, 300)
