"""Random binary networks for property tests: every layer, every option, ties and zeros included."""

from __future__ import annotations

import keras
import numpy as np
from hypothesis import strategies as st

from keras_sbn import layers
from keras_sbn.binarize import binarize

K = keras.layers

#: Quotients of these are exact in float32, so that ties are met and not missed by rounding.
_GAMMAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_HALVES = tuple(n / 2 for n in range(-8, 9))


class _Builder:
    """Draws a network block by block; `x` is always a tensor of -1 and +1 between blocks."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.exact = []

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def normalize(self, x, exact):
        """One or two batch normalizations; `exact` keeps their outputs exact in float32."""
        for _ in range(self.choose(1, 1, 1, 2)):
            options = {"scale": self.choose(True, True, False), "center": self.choose(True, True, False)}
            if self.choose(True, False):
                layer = K.BatchNormalization(epsilon=0.25, **options)
            else:
                layer = layers.BinaryBatchNormalization(epsilon=0.25, **options)
            x = layer(x)
            self.exact.append((layer, exact or self.choose(True, False)))
        return x

    def sign(self, x):
        if self.choose(True, False, False, False):
            x = self.choose(K.Dropout(0.3), K.GaussianNoise(0.1), K.Identity())(x)
        return layers.SelfBinarizingActivation()(x)

    def convolution(self, x, filters=None, same=False, exact=False):
        channels = x.shape[-1]
        kind = "plain" if same else self.choose("plain", "plain", "plain", "depthwise", "separable")
        padding = "same" if same or min(x.shape[1:3]) < 3 else self.choose("same", "valid")
        geometry = self.choose("plain", "plain", "strides", "dilation")
        strides, dilation = 1, 1
        if not same and geometry == "strides":
            strides = 2
        if geometry == "dilation" and padding == "same":
            dilation = 2
        options = {
            "padding": padding,
            "pad_value": self.choose(1.0, 1.0, 1.0, 0.0, -1.0),
            "strides": strides,
            "dilation_rate": dilation,
            "use_bias": self.choose(True, False),
            "binarize_input": self.choose(True, False, False),
            "kernel_scale": None if exact else self.choose(None, None, None, "learned", "mean"),
        }
        size = self.choose((1, 1), (2, 2), (3, 3), (3, 2), (2, 3))
        if size[0] * size[1] == 1 or padding == "valid":
            options["dilation_rate"] = 1
        if kind == "depthwise":
            return layers.SelfBinarizingDepthwiseConv2D(
                size, depth_multiplier=self.choose(1, 2), **options
            )(x)
        filters = filters or self.choose(2, 4, 6, 33)
        if kind == "separable":
            return layers.SelfBinarizingSeparableConv2D(
                filters, size, depth_multiplier=self.choose(1, 1, 2), **options
            )(x)
        groups = 2 if channels % 2 == 0 and filters % 2 == 0 and self.choose(True, False, False) else 1
        return layers.SelfBinarizingConv2D(filters, size, groups=groups, **options)(x)

    def pool(self, x, averages=True):
        if min(x.shape[1:3]) < 2:
            return x
        kinds = (K.MaxPooling2D, K.AveragePooling2D) if averages else (K.MaxPooling2D,)
        size = self.choose(2, 2, 3)
        padding = "same" if min(x.shape[1:3]) < size else self.choose("valid", "same")
        return self.choose(*kinds)(size, strides=self.choose(1, 2), padding=padding)(x)

    def block(self, x):
        kind = self.choose("chain", "chain", "chain", "residual", "branches", "permuted")
        if kind == "residual":
            y = self.normalize(self.convolution(x, x.shape[-1], same=True, exact=True), exact=True)
            return self.sign(K.Add()([x, y]))
        if kind == "branches":
            axis = self.choose(-1, -1, 1)
            filters = (2, 3) if axis == -1 else (3, 3)
            parts = [self.convolution(x, count, same=True) for count in filters]
            return self.sign(self.normalize(K.Concatenate(axis=axis)(parts), False))
        y = self.convolution(x)
        if kind == "permuted":
            return self.sign(K.Permute((2, 1, 3))(self.normalize(y, False)))
        where = self.choose("none", "before", "after", "beyond")
        if where == "before":
            y = self.pool(y)
        y = self.normalize(y, False)
        if where == "after":
            y = self.pool(y, averages=False)
        y = self.sign(y)
        return self.pool(y, averages=False) if where == "beyond" else y

    def head(self, x):
        kind = self.choose("flatten", "flatten", "global_max", "global_average", "normalized")
        if kind == "flatten":
            x = K.Flatten()(x)
        elif kind == "normalized":
            x = self.convolution(x)
            x = self.sign(self.normalize(K.Flatten()(x), False))
        else:
            pool = K.GlobalMaxPooling2D if kind == "global_max" else K.GlobalAveragePooling2D
            x = self.sign(self.normalize(pool()(self.convolution(x)), False))
        for _ in range(self.choose(0, 1, 2)):
            x = layers.SelfBinarizingDense(self.choose(3, 8, 32), use_bias=self.choose(True, False))(x)
            x = self.sign(self.normalize(x, False))
        x = layers.SelfBinarizingDense(3)(x)
        return layers.BinaryBatchNormalization()(x) if self.choose(True, False) else x

    def steps(self, x):
        """A network over time: convolutions and pools of one dimension."""
        for _ in range(self.choose(1, 2, 3)):
            x = layers.SelfBinarizingConv1D(
                self.choose(4, 5, 32),
                self.choose(1, 2, 3),
                padding=self.choose("same", "causal"),
                pad_value=self.choose(1.0, 0.0, -1.0),
                dilation_rate=self.choose(1, 2),
                use_bias=self.choose(True, False),
            )(x)
            pool = self.choose("none", "max", "average")
            if pool != "none" and x.shape[1] >= 2:
                x = (K.MaxPooling1D if pool == "max" else K.AveragePooling1D)(2)(x)
            x = self.sign(self.normalize(x, False))
        pool = self.choose(K.Flatten, K.GlobalMaxPooling1D, K.GlobalAveragePooling1D)
        x = pool()(x)
        if pool is not K.Flatten:
            x = self.sign(self.normalize(x, False))
        return layers.SelfBinarizingDense(3)(x)

    def randomize(self, model):
        exact = {id(layer): flag for layer, flag in self.exact}
        for layer in model.layers:
            for weight in layer.weights:
                weight.assign(self._value(layer, weight, exact.get(id(layer), False)))
        binarize(model)

    def _value(self, layer, weight, exact):
        shape, rng = weight.shape, self.rng
        if weight.name.endswith("_sharpness"):
            return 1.0
        if weight.name == "bias":
            return rng.integers(-2, 3, shape)
        if weight.name == "moving_variance":
            # With the epsilon of 0.25: a standard deviation of 1 or 2.
            return rng.choice([0.75, 3.75], shape) if exact else rng.uniform(0.1, 9, shape)
        if weight.name == "log_gamma" and exact:
            return np.zeros(shape)
        if weight.name == "gamma":
            return rng.choice(_GAMMAS, shape)
        if weight.name in ("beta", "moving_mean"):
            return rng.choice(_HALVES, shape) if exact else 2 * rng.normal(size=shape)
        return rng.normal(size=shape)


def binary_network(draw, max_blocks=4):
    """Returns `(model, x)`: a hard model of random weights, and samples with zeros of both signs.

    `draw` is that of `hypothesis.strategies.data()`.
    """
    build = _Builder(draw)
    if build.choose(*[False] * 4, True):
        shape = (build.choose(5, 8), build.choose(1, 3))
        inputs = keras.Input(shape)
        if build.choose(True, False):
            first = layers.SelfBinarizingConv1D(build.choose(3, 4), 3, padding="same")(inputs)
            outputs = build.steps(build.sign(build.normalize(first, exact=True)))
        else:
            outputs = build.steps(layers.SelfBinarizingActivation()(inputs))
    else:
        shape = (build.choose(4, 5, 7), build.choose(4, 6), build.choose(1, 3, 4))
        inputs = keras.Input(shape)
        if build.choose(True, False):
            first = layers.SelfBinarizingConv2D(build.choose(3, 4), 3, padding="same")(inputs)
            x = build.sign(build.normalize(first, exact=True))
        else:
            x = layers.SelfBinarizingActivation()(inputs)
        for _ in range(draw(st.integers(1, max_blocks))):
            x = build.block(x)
        outputs = build.head(x)
    model = keras.Model(inputs, outputs)
    build.randomize(model)
    x = build.rng.integers(-16, 17, (6, *shape)).astype("float32") / 8
    x[build.rng.random(x.shape) < 0.1] = -0.0
    return model, x
