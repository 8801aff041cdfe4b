"""Small models that together have every operator that is written as C or as ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from conftest import images, randomize
from keras import ops

import keras_sbn
from keras_sbn import layers

K = keras.layers
_STEPS = np.linspace(-1, 1, 144, dtype="float32").reshape(3, 3, 4, 4)


def _binary(x, **options):
    return layers.SelfBinarizingConv2D(33, 3, binarize_input=True, **options)(x)


def _shuffled(x):
    """The channels of two groups in turn."""
    return ops.reshape(ops.swapaxes(ops.reshape(x, (-1, 5, 4, 2, 2)), 3, 4), (-1, 5, 4, 4))


def _sign(x):
    return layers.SelfBinarizingActivation()(x)


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
    "strided": lambda x: x[:, ::2, -2:],
    "backwards": lambda x: ops.flip(ops.flip(x, axis=1), axis=3) + ops.flip(x, axis=1),
    "one_row": lambda x: x[:, 1] - ops.flip(x[:, -1], axis=1),
    "axes": lambda x: ops.moveaxis(ops.swapaxes(x, 1, 2), -1, 1),
    "rows": lambda x: ops.concatenate([x, ops.sigmoid(x)], axis=1),
    "copies": lambda x: ops.repeat(ops.tile(x, (1, 1, 2, 1)), 2, axis=2),
    "stacked": lambda x: ops.roll(ops.stack([x, -x], axis=3), (1, 2), axis=(1, -1)),
    "spread": lambda x: ops.var(x, axis=-1, keepdims=True) + x**2,
    "functions": lambda x: keras.activations.relu(
        ops.average_pool(ops.conv(x, _STEPS, padding="same"), 2, 2) @ np.eye(4, 3, dtype="float32")
    ),
    "padded": lambda x: ops.pad(x, [[0, 0], [0, 1], [0, 0], [2, 3]], constant_values=0.5),
    "binary": lambda x: _sign(_binary(x, padding="same")),
    "binary_strided": lambda x: _sign(_binary(x, padding="same", strides=(2, 3), pad_value=-1.0)),
    "binary_with_zeros": lambda x: _sign(_binary(x, padding="same", pad_value=0.0)),
    "binary_sums": lambda x: _binary(x, padding="same", pad_value=0.0, use_bias=True),
    "binary_sums_relu": lambda x: K.ReLU()(_binary(x)),
    "binary_dilated": lambda x: _binary(x, padding="same", dilation_rate=2),
    "binary_pool": lambda x: K.MaxPooling2D(2, strides=1, padding="same")(_sign(x)),
    "binary_rows": lambda x: _binary(K.Concatenate(axis=1)([y := _sign(x), y])),
    "binary_slices": lambda x: _binary(ops.flip(_sign(x)[:, 1:, :, :3], axis=2), padding="same"),
    "binary_words": lambda x: _binary(_sign(K.Concatenate()([x] * 20))[:, ::2, :, 16:72]),
    "binary_shuffle": lambda x: _binary(
        ops.reshape(ops.swapaxes(ops.reshape(_sign(x), (-1, 5, 4, 2, 2)), 3, 4), (-1, 5, 4, 4)),
        padding="same",
    ),
    "binary_most": lambda x: _binary(ops.maximum(y := _sign(x), ops.flip(y, axis=1)), padding="same"),
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


def models() -> Iterator[tuple[str, Any, np.ndarray, list[np.ndarray]]]:
    """Yields name, model, samples, and what Keras gives for them."""
    rng = np.random.default_rng(0)
    for name, function in {**CASES, **IMAGE_CASES}.items():
        image = name in IMAGE_CASES
        shape = (5, 4, 3) if image else (5, 4, 4)
        inputs = keras.Input(shape, dtype="uint8" if image else None)
        model = keras.Model(inputs, function(K.Rescaling(1.0)(inputs) if image else inputs), name=name)
        randomize(model, rng)
        if any(type(layer).__module__.startswith("keras_sbn") for layer in model.layers):
            keras_sbn.binarize(model)
            model = keras_sbn.fold(model) if image else model
        x = rng.integers(0, 256, (3, *shape)).astype("uint8") if image else images(rng, shape, 3)
        yield name, model, x, [np.asarray(y) for y in keras.tree.flatten(model.predict_on_batch(x))]
