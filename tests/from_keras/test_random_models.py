"""Random Keras models: `binary_model` makes networks that equal their files, or names a layer."""

import os
import re
from collections import Counter

import keras
import numpy as np
import pytest
from float_models import harden, inputs_of
from hypothesis import given
from hypothesis import strategies as st
from random_networks import drawing

import keras_sbn
from keras_sbn.binarize import self_binarizing_layers

K = keras.layers

#: `make fuzz` sets this to thousands.
MODELS = int(os.environ.get("KERAS_SBN_FUZZ", "8"))

_FUNCTIONS = ("relu", "relu6", "gelu", "tanh", "swish", "elu", "sigmoid", "softmax")


class Own(K.Conv2D):
    """Computes otherwise than its class."""

    def call(self, inputs):
        return super().call(inputs) + 0.5

    def get_config(self):
        return super().get_config()


class _Builder:
    """Draws a float network; nothing in it is made for binary ones."""

    def __init__(self, draw):
        self.draw = draw
        self.seen = []
        self.shared = None

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def activation(self):
        return self.choose(
            *(K.ReLU, lambda: K.ReLU(6.0), K.LeakyReLU, K.PReLU),
            *((lambda name=name: K.Activation(name)) for name in _FUNCTIONS),
            *(lambda: keras.ops.relu, lambda: keras.ops.silu),
        )()

    def linear(self, x):
        options = {
            "use_bias": self.choose(True, False),
            "activation": self.choose(None, None, *_FUNCTIONS, K.LeakyReLU, K.PReLU),
        }
        if isinstance(options["activation"], type):
            options["activation"] = options["activation"]()
        if len(x.shape) == 2:
            return K.Dense(self.choose(4, 8), **options)(x)
        filters, size = self.choose(4, 8), self.choose(1, 2, 3, (3, 2))
        padding = "same" if min(x.shape[1:3]) < 4 else self.choose("same", "valid")
        kind = self.choose("conv", "conv", "conv", "dense", "depthwise", "separable", "transposed", "own")
        if kind == "dense":
            return K.Dense(filters, **options)(x)
        if kind == "depthwise":
            return K.DepthwiseConv2D(size, padding=padding, **options)(x)
        if kind == "separable":
            return K.SeparableConv2D(filters, size, padding=padding, **options)(x)
        if kind == "transposed" and max(x.shape[1:3]) < 7:
            return K.Conv2DTranspose(
                filters, size, strides=self.choose(1, 1, 2), padding="same", **options
            )(x)
        if kind == "own":
            return Own(filters, 3, padding="same")(x)
        strides = self.choose(1, 1, 2)
        return K.Conv2D(filters, size, strides=strides, padding=padding, **options)(x)

    def other(self, x):
        image = len(x.shape) == 4
        large = image and min(x.shape[1:3]) > 3
        kinds = [self.activation, self.activation, K.BatchNormalization, K.BatchNormalization]
        kinds += [lambda: K.Dropout(0.3), K.LayerNormalization, lambda: K.Rescaling(0.5)]
        if large:
            padding = self.choose("same", "valid")
            pools = (K.MaxPooling2D, K.AveragePooling2D)
            kinds += [lambda pool=pool: pool(2, padding=padding) for pool in pools]
            kinds += [lambda: K.Cropping2D(((1, 0), (0, 1)))]
        if image:
            kinds += [lambda: K.ZeroPadding2D(((0, 1), (0, 1))), lambda: K.Permute((2, 1, 3))]
            kinds += [lambda: K.SpatialDropout2D(0.2), lambda: K.GaussianNoise(0.1)]
        if image and max(x.shape[1:3]) < 5:
            kinds += [lambda: K.UpSampling2D(2)]
        return self.choose(*kinds)()(x)

    def joined(self, x):
        alike = [y for y in self.seen if y is not x and y.shape[:-1] == x.shape[:-1]]
        same = [y for y in alike if y.shape == x.shape]
        if same and self.choose(True, True, False):
            y = self.choose(*same)
            return self.choose(
                lambda: K.Add()([x, y]),
                lambda: x + y,
                lambda: K.Multiply()([x, y]),
                lambda: K.Maximum()([x, y]),
            )()
        return K.Concatenate()([x, self.choose(*alike)]) if alike else x

    def step(self, x):
        self.seen.append(x)
        kind = self.choose("linear", "linear", "linear", "other", "other", "other", "joined", "shared")
        if kind == "shared" and len(x.shape) == 4:
            if self.shared is None or self.shared.input_spec.axes[-1] != x.shape[-1]:
                self.shared = K.Conv2D(x.shape[-1], 3, padding="same", activation="relu")
            return self.shared(x)
        return {"linear": self.linear, "other": self.other, "joined": self.joined}.get(kind, self.linear)(
            x
        )

    def model(self):
        inputs = [keras.Input((self.choose(6, 7), 6, self.choose(1, 3)), name="image")]
        x = inputs[0]
        for _ in range(self.draw(st.integers(2, 7))):
            x = self.step(x)
        x = self.choose(K.Flatten, K.GlobalAveragePooling2D, K.GlobalMaxPooling2D)()(x)
        if self.choose(True, False, False):
            inputs.append(keras.Input((5,), name="table"))
            x = K.Concatenate()([x, K.Dense(6, activation="relu")(inputs[1])])
        for _ in range(self.draw(st.integers(0, 2))):
            x = self.step(x)
        outputs = [K.Dense(3, activation=self.choose(None, "softmax"), name="classes")(x)]
        if self.choose(True, False, False, False):
            outputs.append(K.Dense(1, name="size")(x))
        taken, given = (x if len(x) > 1 else x[0] for x in (inputs, outputs))
        return keras.Model(taken, given)


def _or_named(make, *models):
    """What `make` returns, or `None` where its error names an operation of one of the models."""
    try:
        return make()
    except ValueError as error:
        named = set(re.findall(r"'([^']+)'", str(error)))
        if named & {operation.name for model in models for operation in model.operations}:
            return None
        raise


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")  # of one channel, which is drawn
@pytest.mark.tensorflow
def test_random_models_equal_their_files_or_are_refused_by_name(rng):
    seen = Counter()

    @drawing(MODELS)
    @given(st.data())
    def check(data):
        keras.utils.set_random_seed(0)
        model = _Builder(data.draw).model()
        policy = data.draw(st.sampled_from(["vgg", "bireal", lambda layer: "binary"]))
        seen["models"] += 1
        result = _or_named(lambda: keras_sbn.binary_model(model, policy=policy), model)
        if result is None:
            seen["refused"] += 1
            return
        binary = result.model
        assert [x.shape for x in binary.outputs] == [x.shape for x in model.outputs]
        assert [x.name for x in binary.inputs] == [x.name for x in model.inputs]
        assert self_binarizing_layers(binary)
        harden(binary, rng)
        x = inputs_of(binary, rng, samples=4)
        expected = keras.tree.flatten(binary(x))
        folded = keras_sbn.fold(binary)
        found = keras.tree.flatten(folded(x))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
        for target in ("lce", "tflite"):
            converted = _or_named(lambda target=target: keras_sbn.convert(folded, target), binary, folded)
            if converted is None:
                continue
            seen[target] += 1
            received = converted.predict(x)
            received = received if isinstance(received, list) else [received]
            for a, b in zip(received, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=target)
        keras.utils.clear_session()

    check()
    # Models that are refused show nothing.
    assert seen["refused"] <= 0.4 * seen["models"]
    assert seen["tflite"] >= 0.4 * seen["models"]
