"""hls4ml's C simulation of folded models gives the numbers of Keras; what cannot be is refused."""

import os
import subprocess
import sys
from collections import Counter
from importlib import metadata

import keras
import numpy as np
import pytest
from c_networks import NETWORKS
from conftest import digit_network, images, randomize
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing

import _keras_sbn_hls4ml
import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.layers import Affine

#: `make test-hls4ml` draws 100.
NETWORKS_DRAWN = int(os.environ.get("KERAS_SBN_FUZZ", "6"))
K = keras.layers
hls4ml = pytest.importorskip("hls4ml", reason="hls4ml is not installed; pip install 'keras-sbn[hls4ml]'")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("default"),
]
_BACKENDS = [("Vivado", "io_parallel"), ("Vitis", "io_stream")]


@pytest.fixture(autouse=True)
def _registered():
    """What the entry point does where the package is installed."""
    _keras_sbn_hls4ml.register()


def converted(model, folder, backend="Vitis", **options):
    return hls4ml.converters.convert_from_keras_model(
        model, output_dir=str(folder), backend=backend, **options
    )


def simulated(circuit, x):
    """What the C simulation gives. Optimized little, as gcc takes ten times as long otherwise."""
    circuit.write()
    script = f"{circuit.config.get_output_dir()}/build_lib.sh"
    with open(script) as file:
        text = file.read()
    assert "-O3" in text
    with open(script, "w") as file:
        file.write(text.replace("-O3", "-O0"))
    circuit._compile()
    found = circuit.predict(np.ascontiguousarray(x, "float32"))
    return found if isinstance(found, list) else [found]


def differences(model, circuit, x):
    """The largest difference of every output."""
    expected = keras.tree.flatten(model.predict_on_batch(x))
    found = simulated(circuit, x)
    return [
        float(np.abs(one.reshape(other.shape) - other).max())
        for one, other in zip(found, map(np.asarray, expected), strict=True)
    ]


def hard(inputs, outputs, rng):
    model = keras.Model(inputs, outputs)
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def sign(x, normalization=K.BatchNormalization):
    return layers.SelfBinarizingActivation()(normalization()(x))


@pytest.mark.parametrize(("backend", "io_type"), _BACKENDS)
def test_convolutions_of_images(backend, io_type, tmp_path):
    """The network of the demo, on 8-bit images: the last sums, and them normalized."""
    model, (x,) = NETWORKS["demo"]()
    (last,) = [layer for layer in model.layers if isinstance(layer, Affine)]
    model = keras.Model(model.input, [last.input, model.output])
    circuit = converted(model, tmp_path, backend, io_type=io_type)
    sums, normalized = differences(model, circuit, x)
    assert sums == 0.0
    assert normalized <= 2.0**-10
    types = {node.class_name: node.get_output_variable().type.precision for node in circuit.get_layers()}
    assert str(types["Input"]) == "uint<8>"
    assert str(types["KerasSbnThreshold"]) == "int<2>"
    weights = [
        node.weights["weight"].type.precision.width
        for node in circuit.get_layers()
        if "Conv" in node.class_name
    ]
    assert set(weights) == {1}


@pytest.mark.parametrize(("backend", "io_type"), _BACKENDS)
def test_dense_layers_on_real_inputs(backend, io_type, tmp_path, rng):
    """Two ways into a network: sums of fixed-point numbers, and signs of them."""
    inputs = keras.Input((12,), name="features")
    x = sign(layers.SelfBinarizingDense(16)(inputs))
    y = layers.SelfBinarizingDense(16, binarize_input=True)(inputs)
    x = K.Concatenate()([x, sign(y)])
    x = sign(layers.SelfBinarizingDense(20, use_bias=True)(x))
    model = keras_sbn.fold(hard(inputs, [layers.SelfBinarizingDense(5)(x), x], rng))
    # Multiples of 1/1024 that fixed<16,6> holds, zeros of both signs among them.
    x = rng.integers(-8192, 8192, (40, 12)).astype("float32") / 1024
    x[:5] = rng.choice([0.0, -0.0, 2.0**-10, -(2.0**-10)], (5, 12))
    circuit = converted(model, tmp_path, backend, io_type=io_type)
    assert not any(differences(model, circuit, x))


def test_signs_of_any_real_number(tmp_path, rng):
    """No number wraps around, and none is rounded to the other side of 0."""
    inputs = keras.Input((6,), name="features")
    x = layers.SelfBinarizingDense(3)(layers.SelfBinarizingActivation()(inputs))
    model = keras_sbn.fold(hard(inputs, x, rng))
    x = rng.choice([1e9, -1e9, 40.0, -33.0, 1e-30, -1e-30, 0.0, -0.0], (30, 6)).astype("float32")
    assert differences(model, converted(model, tmp_path), x) == [0.0]


def test_real_outputs_are_within_a_step(tmp_path, rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model, input_scaling=(1 / 16, -0.5))
    x = rng.integers(0, 17, (40, 7, 6, 2)).astype("uint8")
    (coarse,) = differences(folded, converted(folded, tmp_path / "10"), x)
    assert 0 < coarse <= 2.0**-10
    last = next(layer.name for layer in folded.layers if isinstance(layer, Affine))
    settings = {"Model": {}, "LayerName": {last: {"Precision": "fixed<24,8>"}}}
    (fine,) = differences(folded, converted(folded, tmp_path / "16", hls_config=settings), x)
    assert 0 < fine <= 2.0**-16
    # Without a fixed-point type of the layer there are 10 fractional bits again.
    circuit = converted(folded, tmp_path / "float", hls_config={"Model": {"Precision": "float"}})
    assert circuit.get_output_variables()[0].type.precision.fractional == 10


def test_thresholds_of_every_kind(tmp_path, rng):
    """Turned channels, infinite and far ones, one for every position, and means of 9 and of 6 values."""
    inputs = keras.Input((6, 6, 2), name="image")
    bits = layers.SelfBinarizingActivation()(inputs)
    sums = layers.SelfBinarizingConv2D(16, 3, padding="same", pad_value=-1.0)(bits)
    outputs = [
        sign(K.AveragePooling2D(3)(sums)),
        sign(K.AveragePooling2D((2, 3), padding="same")(sums)),
        sign(K.GlobalAveragePooling2D()(sums)),
        sign(K.MaxPooling2D(3, strides=2, padding="same")(sums)),
        sign(
            K.Normalization(
                axis=(1, 2, 3), mean=rng.normal(size=(6, 6, 16)), variance=np.ones((6, 6, 16))
            )(sums)
        ),
    ]
    model = hard(inputs, outputs, rng)
    for layer in model.layers:
        if isinstance(layer, K.BatchNormalization):
            layer.beta.assign(np.where(rng.random(16) < 0.2, 1e6, 1) * rng.normal(size=16))
    folded = keras_sbn.fold(model)
    kinds = [layer for layer in folded.layers if type(layer).__name__ == "Threshold"]
    assert any(layer.directed for layer in kinds)
    assert any(layer.axes == 3 for layer in kinds)
    x = images(rng, (6, 6, 2), 40)
    assert not any(differences(folded, converted(folded, tmp_path), x))


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_convolutions_of_every_kind(io_type, tmp_path, rng):
    """Padding with three values, strides, dilation, groups, depthwise, a residual, an int8 kernel."""
    inputs = keras.Input((7, 6, 4), name="image", dtype="uint8")
    x = K.Conv2D(8, 3, padding="same", strides=(1, 2), use_bias=False)(K.Rescaling(1 / 8, -1.0)(inputs))
    x = sign(x)
    y = sign(layers.SelfBinarizingConv2D(8, 3, padding="same", groups=2)(x))
    y = layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=0.0, dilation_rate=2)(y)
    z = layers.SelfBinarizingDepthwiseConv2D(3, padding="same", pad_value=-1.0)(x)
    x = sign(K.ZeroPadding2D(1)(K.Add()([y, z])))
    x = sign(layers.SelfBinarizingConv2D(5, (2, 3), strides=(2, 1))(x))
    x = layers.SelfBinarizingDense(4)(K.Flatten()(K.UpSampling2D(2)(x)))
    model = hard(inputs, x, rng)
    folded = keras_sbn.fold(model, quantize_first_layer=True)
    assert "IntegerConv2D" in {type(layer).__name__ for layer in folded.layers}
    x = rng.integers(0, 256, (20, 7, 6, 4)).astype("uint8")
    assert differences(folded, converted(folded, tmp_path, io_type=io_type), x) == [0.0]


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_steps_in_time(io_type, tmp_path):
    """Convolutions of one dimension, one of them causal, and two outputs."""
    model, (x,) = NETWORKS["keyword_net"]()
    assert differences(model, converted(model, tmp_path, io_type=io_type), x) == [0.0, 0.0]


def test_settings_of_the_user(tmp_path, rng):
    """A kernel that is read in parts, and types that hls4ml would infer."""
    inputs = keras.Input((5, 4, 2), name="image")
    x = sign(layers.SelfBinarizingConv2D(6, 2, binarize_input=True)(inputs))
    model = keras_sbn.fold(hard(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x)), rng))
    settings = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
    settings["Model"].update(Strategy="Resource", ReuseFactor=2)
    for layer in settings["LayerName"].values():
        layer["Strategy"], layer["ReuseFactor"] = "Resource", 2
    circuit = converted(model, tmp_path, hls_config=settings, io_type="io_stream", bit_exact=True)
    assert differences(model, circuit, images(rng, (5, 4, 2), 20)) == [0.0]


def test_random_networks(tmp_path):
    """Equal numbers; of a batch normalization at the end, within a step. Refused ones name a layer."""
    seen, refused = Counter(), []

    @drawing(NETWORKS_DRAWN)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        seen["drawn"] += 1
        folded = None
        try:
            folded = keras_sbn.fold(model)
            circuit = converted(
                folded,
                tmp_path / str(seen["drawn"]),
                io_type=("io_parallel", "io_stream")[seen["drawn"] % 2],
            )
        except ValueError as error:
            refused.append((str(error), [model, folded]))
            return
        seen["converted"] += 1
        tolerance = 2.0**-10 if any(isinstance(layer, Affine) for layer in folded.layers) else 0.0
        assert max(differences(folded, circuit, x)) <= tolerance
        keras.utils.clear_session()

    check()
    assert seen["converted"] >= 0.2 * seen["drawn"]
    for text, models in refused:
        models = [model for model in models if model is not None]
        found = [part for model in models for part in (*model._flatten_layers(), *model.operations)]
        assert any(f"{part.name}'" in text for part in found), text


def _head(x):
    return layers.SelfBinarizingDense(3)(K.Flatten()(x))


def _bits(x):
    return layers.SelfBinarizingActivation()(x)


def _sums(x, **options):
    return layers.SelfBinarizingConv2D(3, 3, padding="same", **options)(_bits(x))


#: A network of an input of 6 x 6 x 3, what is said of it, and the network by the remedy.
REFUSED = {
    "another order": (
        lambda x: _head(K.MaxPooling2D(data_format="channels_first")(_sums(x))),
        "MaxPooling2D 'max_pooling2d.*Use 'channels_last'",
        lambda x: _head(K.MaxPooling2D()(_sums(x))),
    ),
    "sizes of 1": (
        lambda x: _head(K.GlobalMaxPooling2D(keepdims=True)(_sums(x))),
        "GlobalMaxPooling2D 'global.*Use keepdims=False",
        lambda x: _head(K.GlobalMaxPooling2D()(_sums(x))),
    ),
    "between pixels": (
        lambda x: _head(K.UpSampling2D(interpolation="bilinear")(_bits(x))),
        "UpSampling2D 'up_.*Use 'nearest'",
        lambda x: _head(K.UpSampling2D()(_bits(x))),
    ),
    "other sizes": (
        lambda x: _head(K.Add()([_sums(x), K.MaxPooling2D(6)(_sums(x))])),
        "Add 'add.*Repeat the values of the smaller, with UpSampling2D",
        lambda x: _head(K.Add()([_sums(x), K.UpSampling2D(6)(K.MaxPooling2D(6)(_sums(x)))])),
    ),
    "means of nine": (
        lambda x: _head(K.AveragePooling2D(3)(_sums(x))),
        "'self_binarizing_dense.*Put a SelfBinarizingActivation between",
        lambda x: _head(_bits(K.AveragePooling2D(3)(_sums(x)))),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_and_its_remedy(case, tmp_path, rng):
    build, message, remedy = REFUSED[case]
    inputs = keras.Input((6, 6, 3), name="image")
    with pytest.raises(ValueError, match=f"(?s)Expected .* Received: {message}"):
        converted(keras_sbn.fold(hard(inputs, build(inputs), rng)), tmp_path)
    model = keras_sbn.fold(hard(inputs, remedy(inputs), rng))
    assert differences(model, converted(model, tmp_path), images(rng, (6, 6, 3), 8)) == [0.0]


LAST = {
    "softmax": lambda x: K.Softmax(name="last")(_head(x)),
    "dense": lambda x: K.Dense(2, name="last")(_head(x)),
    "relu": lambda x: K.ReLU(negative_slope=0.25, name="last")(_head(x)),
    "tanh": lambda x: K.Activation("tanh", name="last")(_head(x)),
    "transposed": lambda x: layers.SelfBinarizingConv2DTranspose(2, 3, name="last")(_bits(x)),
}


@pytest.mark.parametrize("last", LAST)
def test_what_is_left_to_the_processor(last, tmp_path, rng):
    inputs = keras.Input((6, 6, 3), name="image")
    model = keras_sbn.fold(hard(inputs, LAST[last](inputs), rng))
    with pytest.raises(ValueError, match=r"'last'.*Leave it to the processor: end the model before it"):
        converted(model, tmp_path)
    before = keras.Model(model.input, model.get_layer("last").input)
    assert differences(before, converted(before, tmp_path), images(rng, (6, 6, 3), 8)) == [0.0]


class Halved(K.MaxPooling2D):
    def call(self, inputs):
        return super().call(inputs) / 2


#: Classes that hls4ml has no handler of, and which part of the network is left.
UNKNOWN = {
    "own": (lambda x: _head(Halved(name="odd")(_bits(x))), "before"),
    "cropped": (lambda x: _head(K.Cropping2D(1, name="odd")(_bits(x))), "before"),
    "normalized": (lambda x: _head(_bits(K.LayerNormalization(name="odd")(x))), "behind"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_classes_without_a_handler(case, tmp_path, rng):
    inputs = keras.Input((6, 6, 3), name="image")
    build, left = UNKNOWN[case]
    folded = keras_sbn.fold(hard(inputs, build(inputs), rng))
    with pytest.raises(
        ValueError, match=r"Received: .* 'odd', which .*end the model .* or begin behind it"
    ):
        converted(folded, tmp_path)
    odd = folded.get_layer("odd")
    ends = (folded.input, odd.input) if left == "before" else (odd.output, folded.output)
    model, x = keras.Model(*ends), rng.choice([-1.0, 1.0], (8, 6, 6, 3)).astype("float32")
    assert differences(model, converted(model, tmp_path), x) == [0.0]


def test_classes_without_a_handler_in_other_models(tmp_path, rng):
    """What was registered for a folded model leaves them to hls4ml, which has an older handler of one."""
    inputs = keras.Input((6, 6, 3), name="image")
    for case in ("own", "cropped"):
        with pytest.raises(ValueError, match="'odd'"):
            converted(keras_sbn.fold(hard(inputs, UNKNOWN[case][0](inputs), rng)), tmp_path)
    converted(keras.Model(inputs, K.Cropping2D(1)(inputs)), tmp_path)
    with pytest.raises(ValueError, match="Halved'> not found in registry"):
        converted(keras.Model(inputs, Halved()(inputs)), tmp_path)


def test_arguments_that_are_refused(tmp_path, rng):
    inputs = keras.Input((6, 6, 3), name="image")
    model = hard(inputs, _head(K.MaxPooling2D(3, padding="same")(_sums(inputs))), rng)
    folded, x = keras_sbn.fold(model), images(rng, (6, 6, 3), 8)
    with pytest.raises(ValueError, match=r"Expected a folded model\. .*keras_sbn\.fold\(model\)"):
        converted(model, tmp_path)
    with pytest.raises(ValueError, match=r"Expected a backend .* backend='Quartus'.*backend='Vitis'"):
        converted(folded, tmp_path, backend="Quartus")
    overlapping = keras_sbn.fold(hard(inputs, _head(K.MaxPooling2D(3, strides=2)(_sums(inputs))), rng))
    for pool in (folded, overlapping):
        with pytest.raises(ValueError, match=r"MaxPooling2D 'max_pool.* or io_type='io_parallel'"):
            converted(pool, tmp_path, io_type="io_stream")
    wide = {"Model": {"Precision": "fixed<64,32>"}}
    real = keras_sbn.fold(hard(inputs, layers.SelfBinarizingConv2D(3, 3, name="first")(inputs), rng))
    with pytest.raises(ValueError, match=r"at most 53 bits\. Received: 'first'.*'fixed<16,6>'"):
        converted(real, tmp_path, hls_config=wide)
    with pytest.raises(
        ValueError, match=r"fixed-point type of the input\. Received: 'image'.*'fixed<16,6>'"
    ):
        converted(real, tmp_path, hls_config={"Model": {"Precision": "float"}})
    narrow = {"Model": {"Precision": "fixed<16,6>"}}
    assert differences(real, converted(real, tmp_path, hls_config=narrow), x) == [0.0]
    for pool in (folded, overlapping):
        circuit = converted(pool, tmp_path / pool.layers[-1].name, io_type="io_parallel")
        assert differences(pool, circuit, x) == [0.0]


def test_a_pool_that_pads_bytes(tmp_path, rng):
    inputs = keras.Input((6, 6, 3), name="image", dtype="uint8")

    def model(padding):
        x = layers.SelfBinarizingConv2D(3, 3)(K.MaxPooling2D(2, strides=1, padding=padding)(inputs))
        return keras_sbn.fold(hard(inputs, sign(x), rng))

    with pytest.raises(ValueError, match=r"Received: 'max_pooling2d.*Use padding='valid'"):
        converted(model("same"), tmp_path)
    valid, x = model("valid"), rng.integers(0, 256, (8, 6, 6, 3)).astype("uint8")
    assert differences(valid, converted(valid, tmp_path), x) == [0.0]


def test_signs_behind_what_was_folded(tmp_path, rng):
    inputs = keras.Input((6, 6, 3), name="image")
    folded = keras_sbn.fold(hard(inputs, layers.BinaryBatchNormalization()(_sums(inputs)), rng))
    model = keras.Model(folded.input, keras_sbn.folding.layers.Sign(name="last")(folded.output))
    with pytest.raises(
        ValueError, match=r"'last', which reads rounded products.*keras_sbn\.fold\(model\)"
    ):
        converted(model, tmp_path)
    again, x = keras_sbn.fold(model), images(rng, (6, 6, 3), 8)
    assert differences(again, converted(again, tmp_path), x) == [0.0]


def test_sizes_that_are_not_known(tmp_path, rng):
    inputs = keras.Input((None, None, 3), name="image")
    model = keras_sbn.fold(hard(inputs, _sums(inputs), rng))
    with pytest.raises(
        ValueError, match=r"Expected an input of known sizes.*Give keras\.Input the height"
    ):
        converted(model, tmp_path)


def test_other_models_are_left_alone(tmp_path, rng):
    """A network of floats has the types that it had."""
    inputs = keras.Input((6, 6, 3), name="image")
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.Conv2D(2, 3)(inputs))))
    circuit = converted(model, tmp_path)
    assert {str(v.type.precision) for v in circuit.output_vars.values()} == {"fixed<16,6,TRN,WRAP,0>"}


def test_the_entry_point():
    """It names every layer of the package, and `import hls4ml` imports neither the package nor Keras."""
    for package, entries in _keras_sbn_hls4ml.LAYERS.items():
        room = keras_sbn.folding.layers if package.startswith("keras_sbn.folding") else keras_sbn.layers
        classes = {value for value in vars(room).values() if isinstance(value, type)}
        assert {f"{package}.{module}.{name}" for module, name in entries} == {
            f"{one.__module__}.{one.__qualname__}" for one in classes
        }
    # As installed: hls4ml finds no other.
    registered = {one.value for one in metadata.entry_points(group="hls4ml.backends")}
    assert "_keras_sbn_hls4ml:register" in registered
    code = (
        "import sys, hls4ml\n"
        "from hls4ml.converters.keras_v3 import layer_handlers\n"
        "assert 'keras_sbn.folding.layers.sign.Sign' in layer_handlers\n"
        "assert not {'keras', 'keras_sbn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout


def test_a_function_of_keras_is_refused_by_name_and_the_layer_converts(tmp_path, rng):
    def network(move):
        inputs = keras.Input((4, 4, 2))
        x = sign(layers.SelfBinarizingConv2D(3, 3, padding="same", binarize_input=True)(inputs))
        x = layers.SelfBinarizingDense(3)(keras.layers.Flatten()(move(x)))
        return keras_sbn.fold(hard(inputs, x, rng))

    refused = network(lambda x: keras.ops.swapaxes(x, 1, 2))
    said = r"Expected layers.*Received: Swapaxes 'swapaxes.*as a layer, such as Reshape, Permute"
    with pytest.raises(ValueError, match=said):
        converted(refused, tmp_path / "refused")
    model = network(keras.layers.Permute((2, 1, 3)))
    assert differences(model, converted(model, tmp_path / "layer"), images(rng, (4, 4, 2), 20)) == [0.0]
