"""ONNX models compute what Keras computes; QONNX's as well, in qonnx's own executor."""

import os
from collections import Counter

import keras
import numpy as np
import operator_cases
import pytest
from c_networks import NETWORKS
from conftest import digit_network, images, randomize
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, made_or_none

import keras_sbn
from keras_sbn import layers
from keras_sbn.extras import installed, why_not_run

#: `make test-onnx` draws 100, and installs qonnx.
NETWORKS_DRAWN = int(os.environ.get("KERAS_SBN_FUZZ", "7"))
QONNX = installed("qonnx")
onnx = pytest.importorskip("onnx")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(why_not_run("onnx") is not None, reason=str(why_not_run("onnx"))),
]


def _expected(model, converted, x):
    found = model.predict_on_batch(x)
    outputs = [found[name] for name in converted.output_names] if isinstance(found, dict) else found
    return [np.asarray(one) for one in keras.tree.flatten(outputs)]


def _as_list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def _assert_near(received, expected, tolerance, name=""):
    """Differences are a part of the largest number."""
    near = tolerance * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(received, expected, rtol=tolerance, atol=near, err_msg=name)


def run_qonnx(content, x):
    """The outputs of a QONNX model, sample by sample."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(onnx.load_from_string(content)).transform(InferShapes())
    name = model.graph.input[0].name
    samples = [execute_onnx(model, {name: x[i : i + 1]}) for i in range(len(x))]
    return [np.concatenate([one[o.name] for one in samples]) for o in model.graph.output]


@pytest.mark.parametrize("runtime", ["onnxruntime", "qonnx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks(name, runtime):
    """Equal numbers; of QuickNet's float layers sums that are rounded in another order."""
    if runtime == "qonnx" and not QONNX:
        pytest.skip("qonnx is not installed; make test-onnx")
    model, (x,) = NETWORKS[name]()
    converted = keras_sbn.convert(model, "onnx")
    tolerance = 1e-6 if name == "quick_net_small" else 0.0
    standard = runtime == "onnxruntime"
    found = converted.predict(x) if standard else run_qonnx(converted.model(qonnx=True), x)
    for a, b in zip(_as_list(found), _expected(model, converted, x), strict=True):
        _assert_near(a, b, tolerance)


def test_operators():
    """Every operator that there is, in onnxruntime."""
    for name, model, x, expected in operator_cases.models():
        converted = keras_sbn.convert(model, "onnx", allow_float_fallback=True)
        for a, b in zip(_as_list(converted.predict(x)), expected, strict=True):
            _assert_near(a, b, 2e-6, name)


@pytest.mark.parametrize("kind", ["image", "bits", "depthwise", "dense"])
def test_a_scale_behind_sums_stays_out_of_the_kernel(kind, rng):
    """Sums at a tie are 0 behind batch normalization, and the sign of a maximum of them is 1."""

    def sums(x):
        if kind == "dense":
            return layers.SelfBinarizingDense(8)(x)
        if kind == "depthwise":
            return layers.SelfBinarizingDepthwiseConv2D(3)(x)
        return layers.SelfBinarizingConv2D(8, 3)(x)

    inputs = x = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingActivation()(x) if kind == "bits" else x
    branches = [layers.BinaryBatchNormalization()(sums(x)) for _ in range(2)]
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(keras.ops.maximum(*branches)))
    ties = 0
    for _ in range(8):
        for layer in model.layers:
            if isinstance(layer, layers.BinaryBatchNormalization):
                values = {"mean": range(-3, 4), "variance": (0.3, 0.7, 1.9), "gamma": (-0.5, 2.0)}
                for weight in layer.weights:
                    found = next((v for k, v in values.items() if k in weight.name), (0.0,))
                    weight.assign(rng.choice(found, weight.shape))
        keras_sbn.binarize(model)
        folded = keras_sbn.fold(model)
        x = rng.integers(-2, 3, (32, 6, 6, 3)).astype("float32")
        ties += (keras.Model(inputs, branches[0]).predict(x, verbose=0) == 0).sum()
        expected = folded.predict(x, verbose=0)
        np.testing.assert_array_equal(keras_sbn.convert(folded, "onnx").predict(x), expected)
    assert ties > 100


def test_a_gate_near_zero_leaves_the_sign():
    """Squeeze and excitation: onnxruntime's own Sigmoid is 0 below -18, and 0 times -1 is no -1."""
    inputs = keras.Input((64, 1))
    gated = keras.layers.Multiply()([inputs, keras.layers.Activation("sigmoid")(inputs)])
    model = keras.Model(inputs, keras_sbn.layers.SelfBinarizingActivation()(gated))
    keras_sbn.binarize(model)
    x = np.linspace(-80, 80, 64, dtype="float32").reshape(1, 64, 1)
    expected = model.predict_on_batch(x)
    np.testing.assert_array_equal(expected, np.sign(x))
    np.testing.assert_array_equal(keras_sbn.convert(model, "onnx").predict(x), expected)


@pytest.fixture(scope="module")
def model():
    model = digit_network()
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    return model


def test_it_is_verified_saved_and_standard(model, rng, tmp_path):
    converted = keras_sbn.convert(model, "onnx", labels=["a", "b", "ü"])
    check = keras_sbn.verify(converted, model, images(rng, (7, 6, 2), 10))
    assert check
    assert check.runtime.startswith("onnxruntime ")
    saved = onnx.load(converted.save(tmp_path / "model.onnx"))
    onnx.checker.check_model(saved, full_check=True)
    assert {entry.domain for entry in saved.opset_import} == {""}
    assert saved.metadata_props[0].value.split("\n") == ["a", "b", "ü"]
    assert [source.name for source in saved.graph.input] == ["image"]
    # A byte a weight.
    assert converted.report.file_bytes == (tmp_path / "model.onnx").stat().st_size
    assert converted.report.weights < converted.report.file_bytes < 1.5 * converted.report.weights
    with pytest.raises(ValueError, match="Expected the path of an ONNX model"):
        converted.save(tmp_path / "model.tflite")


def test_qonnx_has_its_operators(model):
    converted = keras_sbn.convert(model, "onnx")
    nodes = onnx.load_from_string(converted.model(qonnx=True)).graph.node
    own = [node.op_type for node in nodes if node.domain == "qonnx.custom_op.general"]
    # Three binary kernels and the sign of the float layer; two thresholds of integers.
    assert own.count("MultiThreshold") == 2
    assert own.count("BipolarQuant") == 4
    assert "Where" not in {node.op_type for node in nodes}


def test_random_networks():
    """In onnxruntime and, where qonnx is installed, the first samples in its executor: equal numbers."""
    seen = Counter()

    @drawing(NETWORKS_DRAWN)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        seen["drawn"] += 1
        folded = made_or_none(lambda: keras_sbn.fold(model), model)
        if folded is None:
            return
        converted = made_or_none(
            lambda: keras_sbn.convert(folded, "onnx", allow_float_fallback=True), model
        )
        if converted is None:
            return
        seen["converted"] += 1
        expected = _expected(folded, converted, x)
        for a, b in zip(_as_list(converted.predict(x)), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        if QONNX:
            for a, b in zip(run_qonnx(converted.model(qonnx=True), x[:1]), expected, strict=True):
                np.testing.assert_array_equal(a, b[:1])
        keras.utils.clear_session()

    check()
    assert seen["converted"] >= 0.4 * seen["drawn"]


def test_sums_that_float32_cannot_hold():
    from keras_sbn.onnx_model.functions import _require_exact
    from keras_sbn.tflite.reader import TensorInfo

    tensor = TensorInfo("dense", (1, 1), "float32", 0)
    _require_exact(tensor, 2**24 - 1)
    with pytest.raises(ValueError, match=r"below 2\^24.*Received: 'dense', whose sums reach 16,777,216"):
        _require_exact(tensor, 2**24)


def test_what_onnx_does_not_have(rng):
    """Outputs of 8 bits round halves to even there, and away from 0 elsewhere."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    x = images(rng, (4,), 8)
    with pytest.raises(ValueError, match="Expected values that are not rounded"):
        keras_sbn.convert(model, "onnx", representative_data=x, output_type="int8")
