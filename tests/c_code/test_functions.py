"""Every C function, alone: what it computes is what Keras computes."""

import shutil

import keras
import numpy as np
import pytest
from c_programs import SANITIZED, Case, compare, run_cases
from conftest import images, randomize
from keras import ops

import keras_sbn
from keras_sbn import layers
from keras_sbn.c_code.source import runtime

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
K = keras.layers


def _binary(x, **options):
    return layers.SelfBinarizingConv2D(33, 3, binarize_input=True, **options)(x)


def _sign(x):
    return layers.SelfBinarizingActivation()(x)


LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
#: Of a map of 5 x 4 x 4.
CASES = {
    "conv": lambda x: K.Conv2D(6, (3, 2), strides=(2, 1), padding="same", activation="relu")(x),
    "conv_relu6": lambda x: K.Conv2D(40, 3, dilation_rate=2, padding="same", activation="relu6")(x),
    "conv_of_groups": lambda x: K.Conv2D(6, 3, groups=2, use_bias=False)(x),
    "conv_of_bytes": lambda x: layers.SelfBinarizingConv2D(64, 3, padding="same")(x),
    "depthwise": lambda x: K.DepthwiseConv2D((2, 3), depth_multiplier=2, padding="same")(x),
    "depthwise_dilated": lambda x: K.DepthwiseConv2D(2, dilation_rate=2)(x),
    "transposed": lambda x: K.Conv2DTranspose(3, 3, strides=2, padding="same")(x),
    "transposed_valid": lambda x: K.Conv2DTranspose(3, (2, 3), strides=(3, 2), use_bias=False)(x),
    "dense": lambda x: K.Dense(5, activation="softmax")(x),
    "dense_of_rows": lambda x: K.Dense(5)(K.Reshape((5, 16))(x)),
    "max_pool": lambda x: K.MaxPooling2D(3, strides=2, padding="same")(x),
    "average_pool": lambda x: K.AveragePooling2D(3, strides=2, padding="same")(x),
    "global_pools": lambda x: K.Concatenate()([K.GlobalMaxPooling2D()(x), K.GlobalAveragePooling2D()(x)]),
    "least": lambda x: ops.min(x, axis=2),
    "total": lambda x: ops.sum(x, axis=(1, 3), keepdims=True),
    "normalized": lambda x: K.LayerNormalization(axis=(1, 3))(x),
    "groups_normalized": lambda x: K.GroupNormalization(2)(x),
    "prelu": lambda x: K.PReLU(shared_axes=[1, 2])(x),
    "prelu_everywhere": lambda x: K.PReLU()(x),
    "leaky_relu": lambda x: K.LeakyReLU(negative_slope=0.3)(x),
    "elu": lambda x: K.ELU()(x),
    "gelu": lambda x: K.Activation("gelu")(x),
    "gelu_by_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "tanh": lambda x: K.Activation("tanh")(x),
    "silu": lambda x: K.Activation("silu")(x),
    "hard_sigmoid": lambda x: K.Activation("hard_sigmoid")(x),
    "relu_with_an_end": lambda x: K.ReLU(max_value=1.5)(x),
    "permuted": lambda x: K.Permute((3, 1, 2))(x),
    "cropped": lambda x: K.Cropping2D(((1, 0), (2, 1)))(x),
    "repeated": lambda x: K.UpSampling2D((2, 3))(x),
    "steps_repeated": lambda x: K.UpSampling1D(2)(K.Reshape((5, 16))(x)),
    "merged": lambda x: K.Subtract()([K.Minimum()([x, K.ReLU()(x)]), K.Maximum()([x, -x])]),
    "products": lambda x: (x + x * 0.5) - ops.maximum(x, 0.25) / 3.0,
    "positions": lambda x: x * ops.mean(x, axis=-1, keepdims=True),
    "clipped_and_rounded": lambda x: ops.round(ops.clip(x * 3.0, -2.0, 1.0)),
    "floor_and_ceil": lambda x: ops.floor(x * 3.0) + ops.ceil(x * 5.0),
    "roots": lambda x: ops.sqrt(ops.abs(x)) + ops.rsqrt(ops.square(x) + 1.0) + ops.log(ops.exp(x)),
    "swapped": lambda x: K.Concatenate()(ops.split(x, 2, axis=-1)[::-1]),
    "rows": lambda x: ops.concatenate([x, ops.sigmoid(x)], axis=1),
    "padded": lambda x: ops.pad(x, [[0, 0], [0, 1], [0, 0], [2, 3]], constant_values=0.5),
    "binary": lambda x: _sign(_binary(x, padding="same")),
    "binary_strided": lambda x: _sign(_binary(x, padding="same", strides=(2, 3), pad_value=-1.0)),
    "binary_with_zeros": lambda x: _sign(_binary(x, padding="same", pad_value=0.0)),
    "binary_sums": lambda x: _binary(x, padding="same", pad_value=0.0, use_bias=True),
    "binary_sums_relu": lambda x: K.ReLU()(_binary(x)),
    "binary_dilated": lambda x: _binary(x, padding="same", dilation_rate=2),
    "binary_pool": lambda x: K.MaxPooling2D(2, strides=1, padding="same")(_sign(x)),
    "binary_rows": lambda x: _binary(K.Concatenate(axis=1)([y := _sign(x), y])),
    "sign_of_negative_zero": lambda x: _sign(x * 0.0),
    "the_input_itself": lambda x: [x, K.Flatten()(x)],
    "one_value_twice": lambda x: [y := _sign(x), y],
}
#: Of an 8-bit image of 5 x 4 x 3.
IMAGE_CASES = {
    "image": lambda x: _sign(layers.SelfBinarizingConv2D(33, 3, padding="same")(x)),
    "image_padded_with_ones": lambda x: _sign(
        layers.SelfBinarizingConv2D(4, 3, padding="same", pad_value=255.0)(x)
    ),
    "image_in_floats": lambda x: K.Conv2D(2, 3)(x),
}


def _case(name, model, x):
    outputs = keras.tree.flatten(model.predict_on_batch(x))
    converted = keras_sbn.convert(model, "c", allow_float_fallback=True)
    return Case(converted.code(name), [x], [np.asarray(one) for one in outputs], tolerance=2e-6)


@pytest.fixture(scope="module")
def cases():
    rng, found = np.random.default_rng(0), []
    for name, function in CASES.items():
        inputs = keras.Input((5, 4, 4))
        model = keras.Model(inputs, function(inputs), name=name)
        randomize(model, rng)
        if any(type(layer).__module__.startswith("keras_sbn") for layer in model.layers):
            keras_sbn.binarize(model)
        found.append(_case(name, model, images(rng, (5, 4, 4), 3)))
    for name, function in IMAGE_CASES.items():
        inputs = keras.Input((5, 4, 3), dtype="uint8")
        model = keras.Model(inputs, function(K.Rescaling(1.0)(inputs)), name=name)
        randomize(model, rng)
        if name != "image_in_floats":
            keras_sbn.binarize(model)
        folded = keras_sbn.fold(model) if name != "image_in_floats" else model
        found.append(_case(name, folded, rng.integers(0, 256, (3, 5, 4, 3)).astype("uint8")))
    return found


def test_outputs_of_8_bits(rng, tmp_path):
    """Stored as the report says: halves are rounded away from 0."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, K.Dense(9)(inputs))
    randomize(model, rng)
    x = images(rng, (64,), 16)
    found = []
    for dtype in ("int8", "uint8"):
        converted = keras_sbn.convert(model, "c", representative_data=x, output_type=dtype)
        scale, zero = converted.report.outputs[0].scale, converted.report.outputs[0].zero_point
        steps = model.predict_on_batch(x).astype(np.float64) / scale
        expected = np.clip(np.sign(steps) * np.floor(np.abs(steps) + 0.5) + zero, *LIMITS[dtype])
        found.append(Case(converted.code(dtype), [x], [expected.astype(dtype)]))
    compare(found, run_cases(SANITIZED, found, tmp_path), SANITIZED.name)
    assert "sbn_quantize" in found[0].code.calls


def test_functions_compute_what_keras_computes(cases, tmp_path):
    received = run_cases(SANITIZED, cases, tmp_path)
    assert compare(cases, received, SANITIZED.name) > 0


def test_no_function_is_left_out(cases):
    used = {name for case in cases for name in case.code.calls}
    # That of outputs of 8 bits is tested above.
    assert set(runtime()) - used == {"sbn_quantize"}
