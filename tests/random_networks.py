"""Random binary networks for property tests: every layer, every option, ties and zeros included."""

from __future__ import annotations

import re
from functools import partial

import keras
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from keras import ops

from keras_sbn import layers
from keras_sbn.binarize import binarize

K = keras.layers

#: Quotients of these are exact in float32, so that ties are met and not missed by rounding.
_GAMMAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_HALVES = tuple(n / 2 for n in range(-8, 9))
#: Layers of a name that starts so are to be refused.
REFUSED = "refused"


def drawing(networks):
    """Settings for a test of so many networks; thousands are drawn anew each time."""
    return settings(
        max_examples=networks,
        deadline=None,
        derandomize=networks <= 100,
        suppress_health_check=list(HealthCheck),
        # Shrinking a network takes longer than reading it.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        print_blob=True,
    )


def refused_layers(model):
    """Names of the layers of a drawn model that nothing may be assumed of."""
    return [layer.name for layer in model._flatten_layers() if layer.name.startswith(REFUSED)]


def made_or_none(make, model):
    """What is made of the model, or `None` where the error names a layer of it."""
    refused = refused_layers(model)
    try:
        made = make()
    except ValueError as error:
        named = set(re.findall(r"'([^']+)'", str(error)))
        names = tuple(refused or (part.name for part in (*model._flatten_layers(), *model.operations)))
        if any(name.startswith(names) for name in named):
            return None
        raise
    assert not refused, f"{refused} converted"
    return made


class Preset(layers.SelfBinarizingConv2D):
    """Changes arguments alone, and its constructor does not take what its configuration has."""

    def __init__(self, filters):
        super().__init__(filters, 3, padding="same", pad_value=-1.0)


class PresetNormalization(K.BatchNormalization):
    def __init__(self):
        super().__init__(epsilon=0.25)


class Shifted(K.ReLU):
    """The layers of Keras that compute otherwise from here on; all are exact in float32."""

    def call(self, inputs):
        return super().call(inputs) - 0.5


class LowPool(K.MaxPooling2D):
    def call(self, inputs):
        return -super().call(-inputs)


class Negated(K.Permute):
    def call(self, inputs):
        return -super().call(inputs)


class Leaking(K.Dropout):
    def call(self, inputs, training=False):
        return inputs - 0.25


class Doubled(K.UpSampling2D):
    def call(self, inputs):
        return 2 * super().call(inputs) - 0.5


class Halved(layers.SelfBinarizingConv2D):
    """Of a layer of this package, which is to be refused."""

    def call(self, inputs):
        return 0.5 - super().call(inputs)


#: What users write between a product and a sign.
_FORMS = {
    "scale": lambda own, x: x * own.scale,
    "scale on the left": lambda own, x: own.scale * x,
    "quotient": lambda own, x: x / own.scale,
    "shift": lambda own, x: x - own.shift,
    "shift on the left": lambda own, x: own.shift - x,
    "sum": lambda own, x: own.shift + x,
    "number": lambda own, x: 0.1 * x - 0.3,
    "negative": lambda own, x: -x,
    "pool": lambda own, x: ops.max_pool(x, 2, 1, padding="same"),
    "type": lambda own, x: ops.cast(x, "float32"),
}


class Own(K.Layer):
    """Layers, weights and operators of its own between them, as users write a block."""

    def __init__(self, before, channels, forms):
        super().__init__()
        self.before, self.channels, self.forms = before, channels, forms
        self.sign = layers.SelfBinarizingActivation()

    def build(self, shape):
        for layer in self.before:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.sign.build(shape)
        self.scale = self.add_weight(shape=(self.channels,), initializer="ones", name="own_scale")
        self.shift = self.add_weight(shape=(1, 1, self.channels), initializer="ones", name="own_shift")

    def call(self, inputs, training=None):
        x = inputs
        for layer in self.before:
            takes_mode = isinstance(layer, K.BatchNormalization)
            x = layer(x, training=training) if takes_mode else layer(x)
        for form in self.forms:
            x = _FORMS[form](self, x)
        return self.sign(x)


def own_relu(x):
    return keras.ops.relu(x) - 0.5


class _Builder:
    """Draws a network block by block; `x` is always a tensor of -1 and +1 between blocks."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.exact = []
        self.refused = 0

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def refused_name(self):
        self.refused += 1
        return f"{REFUSED}_{self.refused}"

    def normalize(self, x, exact):
        """One or two batch normalizations; `exact` keeps their outputs exact in float32."""
        for _ in range(self.choose(1, 1, 1, 2)):
            options = {"scale": self.choose(True, True, False), "center": self.choose(True, True, False)}
            kind = self.choose("keras", "keras", "binary", "binary", "preset", "axes")
            if kind == "axes" and not exact:
                x = self.over_axes(x)
                continue
            if kind == "keras":
                layer = K.BatchNormalization(epsilon=0.25, **options)
            elif kind == "preset":
                layer = PresetNormalization()
            else:
                layer = layers.BinaryBatchNormalization(epsilon=0.25, **options)
            x = layer(x)
            self.exact.append((layer, exact or self.choose(True, False)))
        return x

    def over_axes(self, x):
        """A Normalization with a value for every place of some axes."""
        known = [axis for axis in range(1, len(x.shape)) if x.shape[axis] is not None]
        axis = self.choose(None, -1, *known, tuple(known))
        kept = [] if axis is None else np.atleast_1d(axis) % len(x.shape)
        shape = tuple(x.shape[i] for i in kept)
        mean, variance = self.rng.choice(_HALVES, shape), self.rng.choice([1.0, 4.0], shape)
        return K.Normalization(axis, mean=mean, variance=variance, invert=self.choose(False, True))(x)

    def otherwise(self, x):
        """A layer that computes otherwise than its class, or one that the fold leaves alone."""
        image = len(x.shape) == 4
        kinds = [Shifted, lambda: Leaking(0.5), lambda: K.LeakyReLU(negative_slope=0.25)]
        kinds.append(lambda: K.Activation(own_relu))
        kinds.append(lambda: self.with_constant)
        if image:
            kinds += [lambda: Negated((2, 1, 3)), lambda: LowPool(2, 1, padding="same")]
        if image and max(x.shape[1:3]) < 7:
            kinds.append(lambda: Doubled(2, interpolation="nearest"))
        return self.choose(*kinds)()(x)

    def with_constant(self, x):
        """A layer of several inputs of which one is no tensor of the model; or an operation on both."""
        constant = self.rng.choice(_HALVES, (1, *x.shape[1:])).astype("float32")
        merge = self.choose(K.Add, K.Multiply, K.Maximum, K.Minimum, K.Subtract, "operator")
        if merge == "operator":
            return self.choose(lambda: x + constant, lambda: ops.subtract(constant, x), lambda: x * 0.5)()
        # TensorFlow's backend does not build a layer whose first input is an array.
        return merge()([x, constant])

    def operations(self, x):
        """±1 in other places, by indices and functions of `keras.ops`."""
        _, height, width, channels = x.shape
        kind = self.choose("slice", "slice", "shuffle", "axes", "flip", "halves", "most", "new axis")
        if kind == "slice":
            places = [slice(None), slice(None), slice(1, None), slice(None, None, 2), slice(-2, None)]
            if keras.backend.backend() != "torch":  # which has no steps backwards
                places += [slice(None, None, -1), slice(None, 0, -2)]
            key = [self.choose(*places) if size > 2 else slice(None) for size in x.shape[1:]]
            return x[(slice(None), *key)] if self.choose(True, False) else x[..., key[-1]]
        if kind == "shuffle" and channels % 2 == 0:
            x = ops.reshape(x, (-1, height, width, 2, channels // 2))
            return ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, height, width, channels))
        if kind == "axes":
            return self.choose(
                lambda: ops.swapaxes(x, 1, 2),
                lambda: ops.moveaxis(x, -2, 1),
                lambda: ops.transpose(x, (0, 2, 1, 3)),
            )()
        if kind == "halves" and channels % 2 == 0:
            first, second = ops.split(x, 2, axis=-1)
            second = self.sign(self.normalize(self.convolution(second, same=True), False))
            join = self.choose(partial(ops.concatenate, axis=-1), K.Concatenate(axis=-1))
            return join([second, first])
        if kind == "most":
            return self.choose(
                lambda: ops.maximum(x, ops.flip(x, axis=1)),
                lambda: K.Minimum()([ops.flip(ops.flip(x, axis=1), axis=2), x]),
                lambda: ops.max(x, axis=2, keepdims=True),
                lambda: ops.amin(x, axis=-1, keepdims=True),
                lambda: ops.max(ops.stack([x, ops.roll(x, 1, axis=2)], axis=1), axis=1),
                lambda: ops.max_pool(ops.tile(x, (1, 1, 1, 2)), 2, 2, padding="same"),
            )()
        if kind == "new axis":
            return self.choose(lambda: x[:, 0][:, None], lambda: ops.expand_dims(x[:, :, -1], 2))()
        return ops.flip(x, axis=self.choose(1, 2, -1))

    def moved(self, x):
        """Values in another place, or zeros or means among them, in both orders of the axes."""
        form = self.choose(*["channels_last"] * 5, "channels_first")
        small = max(x.shape[1:]) < 9
        kind = self.choose("up", "up", "crop", "pad", "repeat")
        if kind == "up" and small:
            how = self.choose("nearest", "nearest", "nearest", "nearest", "bilinear")
            return K.UpSampling2D(2, data_format=form, interpolation=how)(x)
        if kind == "crop" and min(x.shape[1:]) > 3:
            return K.Cropping2D(((0, 1), (1, 0)), data_format=form)(x)
        if kind == "pad" and small:
            return K.ZeroPadding2D(1, data_format=form)(x)
        flip = self.choose(K.RandomFlip, lambda: K.RandomRotation(0.3), lambda: K.RandomContrast(0.5))
        return flip()(x)

    def sign(self, x):
        if self.choose(True, False, False, False):
            x = self.choose(K.Dropout(0.3), K.GaussianNoise(0.1), K.Identity())(x)
        sign = layers.SelfBinarizingActivation()
        return self.choose(*[sign] * 5, K.Activation(sign))(x)

    def convolution(self, x, filters=None, same=False, exact=False):
        channels = x.shape[-1]
        kind = "plain" if same else self.choose("plain", "plain", "plain", "depthwise", "separable")
        padding = "same" if same or min(x.shape[1:3]) < 3 else self.choose("same", "valid")
        geometry = self.choose("plain", "plain", "strides", "dilation")
        strides, dilation = 1, 1
        if not same and geometry == "strides":
            # Longer than the window in some cases.
            strides = self.choose(2, 2, 3)
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
        if not exact:
            options["activation"] = self.choose(
                *[None] * 8,
                *("relu", "relu6", K.LeakyReLU(negative_slope=0.25), K.PReLU(shared_axes=[1, 2])),
                layers.SelfBinarizingActivation(),
            )
        if self.choose(*[False] * 40, True):
            options |= {"activation": own_relu, "name": self.refused_name()}
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
        kind = self.choose(
            *["chain"] * 5,
            *(
                "residual",
                "branches",
                "permuted",
                "reused",
                "moved",
                "operations",
                "otherwise",
                "own",
                "own",
                "refused",
            ),
        )
        if kind == "own":
            return self.own(x)
        if kind == "refused" and self.choose(False, False, True):
            return self.sign(Halved(2, 3, padding="same", name=self.refused_name())(x))
        if kind == "reused":
            return self.reused(x)
        if kind == "operations":
            return self.operations(x)
        if kind == "moved":
            x = self.moved(x)
            return self.sign(x) if self.choose(True, False) else x
        if kind == "otherwise":
            y = self.convolution(x, exact=True) if self.choose(True, False) else x
            return self.sign(self.normalize(self.otherwise(y), False))
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

    def own(self, x):
        """A layer of one's own, maybe within another."""
        filters = self.choose(2, 4, 33)
        before = [
            layers.SelfBinarizingConv2D(filters, 3, padding="same", use_bias=self.choose(True, False))
        ]
        if self.choose(True, False):
            before.append(self.choose(K.BatchNormalization(), layers.BinaryBatchNormalization()))
        made = Own(before, filters, [self.choose(*_FORMS) for _ in range(self.choose(0, 1, 1, 2, 3))])
        x = made(x)
        return K.Lambda(lambda x: -x)(x) if self.choose(True, False, False) else x

    def reused(self, x):
        """The same layers, maybe in a model of their own, once more."""
        conv = self.choose(
            lambda filters: Preset(filters),
            lambda filters: layers.SelfBinarizingConv2D(filters, 3, padding="same", use_bias=True),
        )(x.shape[-1])
        normalization, sign = K.BatchNormalization(epsilon=0.25), layers.SelfBinarizingActivation()
        self.exact.append((normalization, False))
        if self.choose(True, False):
            inside = keras.Input(x.shape[1:])
            inner = keras.Model(inside, sign(normalization(conv(inside))))
            return inner(inner(x))
        for _ in range(2):
            x = sign(normalization(conv(x)))
        return x

    def head(self, x):
        kind = self.choose("flatten", "flatten", "global_max", "global_average", "normalized")
        flatten = K.Flatten(data_format=self.choose(*["channels_last"] * 5, "channels_first"))
        if kind == "flatten":
            x = flatten(x)
        elif kind == "normalized":
            x = self.convolution(x)
            x = self.sign(self.normalize(flatten(x), False))
        else:
            pool = K.GlobalMaxPooling2D if kind == "global_max" else K.GlobalAveragePooling2D
            form = self.choose(*["channels_last"] * 5, "channels_first")
            y = pool(data_format=form, keepdims=self.choose(False, True))(self.convolution(x))
            x = K.Flatten()(self.sign(self.normalize(y, False)))
        for _ in range(self.choose(0, 1, 2)):
            x = layers.SelfBinarizingDense(self.choose(3, 8, 32), use_bias=self.choose(True, False))(x)
            x = self.sign(self.normalize(x, False))
        x = layers.SelfBinarizingDense(3)(x)
        return layers.BinaryBatchNormalization()(x) if self.choose(True, False) else x

    def masked(self, x):
        """A network over steps of which some are masked."""
        x = K.Masking(mask_value=0.0)(x)
        for _ in range(self.choose(1, 2)):
            x = layers.SelfBinarizingDense(self.choose(4, 5), use_bias=self.choose(True, False))(x)
            x = self.sign(self.normalize(x, False))
        x = layers.SelfBinarizingDense(4)(x)
        if self.choose(True, False):
            x = self.normalize(K.GlobalAveragePooling1D()(x), False)
        return self.sign(x)

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
        pool = self.choose(K.Flatten, K.GlobalMaxPooling1D, K.GlobalAveragePooling1D, "last")
        if pool == "last":
            return layers.SelfBinarizingDense(3)(x[:, -1])
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
        if weight.name in ("own_scale", "own_shift"):
            return rng.choice([value for value in _HALVES if value], shape) * self.choose(1.0, 0.3)
        if weight.name == "moving_variance":
            # With the epsilon of 0.25: a standard deviation of 1 or 2.
            return rng.choice([0.75, 3.75], shape) if exact else rng.uniform(0.1, 9, shape)
        if weight.name == "log_gamma" and exact:
            return np.zeros(shape)
        if weight.name == "gamma":
            return rng.choice(_GAMMAS if exact else (*_GAMMAS, 1e-9, -1e-9), shape)
        if weight.name == "beta" and not exact:
            # Channels among them whose sign is always the same.
            return np.where(rng.random(shape) < 0.1, 1e6, 2) * rng.normal(size=shape)
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
        kind = build.choose("convolution", "convolution", "sign", "sign", "masked")
        if kind == "masked":
            outputs = build.masked(inputs)
        elif kind == "convolution":
            first = layers.SelfBinarizingConv1D(build.choose(3, 4), 3, padding="same")(inputs)
            outputs = build.steps(build.sign(build.normalize(first, exact=True)))
        else:
            outputs = build.steps(layers.SelfBinarizingActivation()(inputs))
    else:
        shape = (build.choose(4, 5, 7), build.choose(4, 6), build.choose(1, 3, 4))
        inputs = x = keras.Input(shape)
        if build.choose(True, False, False):
            x = K.RandomFlip()(x)
        if build.choose(True, False):
            first = layers.SelfBinarizingConv2D(build.choose(3, 4), 3, padding="same")(x)
            x = build.sign(build.normalize(first, exact=True))
        else:
            x = layers.SelfBinarizingActivation()(x)
        for _ in range(draw(st.integers(1, max_blocks))):
            x = build.block(x)
        outputs = build.head(x)
    model = keras.Model(inputs, outputs)
    # Builds what layers call. With TensorFlow, Keras drops the batch axis of a sum of one value a channel
    # of one sample and a weight before it.
    model(np.zeros((2, *shape), "float32"))
    build.randomize(model)
    x = build.rng.integers(-16, 17, (6, *shape)).astype("float32") / 8
    x[build.rng.random(x.shape) < 0.1] = -0.0
    if len(shape) == 2:
        # Steps that are masked, where a layer does so.
        x[1:3, -2:] = 0.0
    return model, x
