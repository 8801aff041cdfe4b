"""Builds Larq models of every kind, runs them in float64, and describes them: a process with Keras 2.

python larq_models.py FOLDER
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import larq as lq
import numpy as np
import tensorflow as tf

layers = tf.keras.layers
NONE = {"use_bias": False}
SIGN = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}
NORM = {"scale": False}


def mnist():
    """The network of Larq's first tutorial."""
    return tf.keras.Sequential(
        [
            lq.layers.QuantConv2D(8, 3, kernel_quantizer="ste_sign", **NONE, input_shape=(28, 28, 1)),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(**NORM),
            lq.layers.QuantConv2D(16, 3, **SIGN),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(**NORM),
            lq.layers.QuantConv2D(16, 3, **SIGN),
            layers.BatchNormalization(**NORM),
            layers.Flatten(),
            lq.layers.QuantDense(16, **SIGN),
            layers.BatchNormalization(**NORM),
            lq.layers.QuantDense(10, **SIGN),
            layers.BatchNormalization(**NORM),
            layers.Activation("softmax"),
        ]
    )


def binarynet():
    """The network of Larq's second tutorial, for CIFAR-10."""
    model = tf.keras.Sequential([layers.InputLayer((32, 32, 3))])
    for index, filters in enumerate((128, 128, 256, 256, 512, 512)):
        arguments = {"padding": "same", **SIGN} if index else {"kernel_quantizer": "ste_sign", **NONE}
        model.add(lq.layers.QuantConv2D(filters, 3, **arguments))
        if index % 2:
            model.add(layers.MaxPooling2D(2))
        model.add(layers.BatchNormalization(**NORM))
    model.add(layers.Flatten())
    for units in (1024, 1024, 10):
        model.add(lq.layers.QuantDense(units, **SIGN))
        model.add(layers.BatchNormalization(**NORM))
    model.add(layers.Activation("softmax"))
    return model


def paddings():
    """Zero and one padding, strides, dilation, biases, every sign, and maps smaller than a window."""
    x = inputs = layers.Input((9, 7, 3))
    quantizers = ("approx_sign", "swish_sign", lq.quantizers.SteSign(1.3), lq.quantizers.SteSign(None))
    options = (
        {"pad_values": 1.0},
        {"strides": 2},
        {"dilation_rate": 2, "pad_values": 0.0},
        {"pad_values": 1.0, "strides": (2, 2), "use_bias": True},
    )
    for quantizer, extra in zip(quantizers, options, strict=True):
        arguments = {**SIGN, "input_quantizer": quantizer, "kernel_quantizer": quantizer, **extra}
        x = lq.layers.QuantConv2D(32, 3, padding="same", **arguments)(x)
        x = layers.BatchNormalization()(x)
    x = lq.layers.QuantConv2D(5, 3, padding="same", **SIGN)(x)
    return tf.keras.Model(inputs, layers.BatchNormalization()(x))


def kinds():
    """Larq's layers, one after another, with float and scaled kernels among them."""
    x = inputs = layers.Input((8, 8, 4))
    x = lq.quantizers.SteSign()(x)
    x = lq.layers.QuantDepthwiseConv2D(
        3, depth_multiplier=2, depthwise_quantizer="ste_sign", padding="same", pad_values=1.0
    )(x)
    x = layers.BatchNormalization()(x)
    x = lq.layers.QuantSeparableConv2D(
        32,
        3,
        input_quantizer="ste_sign",
        depthwise_quantizer="ste_sign",
        pointwise_quantizer="ste_sign",
        padding="same",
    )(x)
    x = layers.BatchNormalization()(x)
    x = lq.layers.QuantSeparableConv2D(
        16, 3, input_quantizer="ste_sign", depthwise_quantizer="ste_sign", use_bias=True
    )(x)
    x = layers.BatchNormalization()(x)
    x = lq.layers.QuantConv2D(
        32, 3, input_quantizer="ste_sign", kernel_quantizer="magnitude_aware_sign", activation="relu"
    )(x)
    x = layers.BatchNormalization()(x)
    x = layers.Reshape((32, 16))(x)
    x = lq.layers.QuantConv1D(8, 3, padding="causal", **SIGN)(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling1D()(layers.Activation(lq.quantizers.ste_sign)(x))
    x = lq.layers.QuantDense(4, input_quantizer="ste_sign", use_bias=True)(x)
    return tf.keras.Model(inputs, x)


class Rescale(layers.Layer):
    """A layer of one's own with weights."""

    def build(self, shape):
        self.scale = self.add_weight("scale", (1, 1, shape[-1]), initializer="ones")
        super().build(shape)

    def call(self, x):
        return 2.0 * x * self.scale - 0.25


def floats():
    """Operators, Lambda layers, layers of one's own, and what the zoo has around its kernels."""
    inputs = layers.Input((12, 12, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
    left, right = layers.Lambda(lambda t: tf.split(t, 2, axis=-1))(x)
    left = layers.Conv2D(8, 3, padding="same", name="left", activation="relu")(left)
    merged = layers.Lambda(lambda t: tf.concat(t, axis=-1))([left, right])
    merged = layers.Lambda(lambda t: tf.pad(t, [[0, 0], [0, 0], [0, 0], [8, 0]]))(merged)
    y = lq.layers.QuantConv2D(32, 3, padding="same", pad_values=1.0, activation="relu", **SIGN)(x)
    x = layers.BatchNormalization()(y) + merged
    y = lq.layers.QuantConv2D(32, 3, padding="same", **SIGN)(x)
    gate = layers.Flatten()(layers.AveragePooling2D(6)(x))
    gate = layers.Dense(4, activation="relu", use_bias=False)(gate)
    gate = layers.Reshape((1, 1, 32))(layers.Dense(32, activation="sigmoid")(gate))
    x = layers.Add()([x, Rescale()(layers.Multiply()([y, gate]))])
    x = layers.LeakyReLU(0.1)(layers.Lambda(lambda t: t)(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(layers.MaxPooling2D(2, 1)(x))
    x = layers.Permute((2, 1, 3))(layers.Cropping2D(1)(layers.UpSampling2D(2)(x)))
    x = tf.reduce_mean(tf.minimum(x[:, :, :, 4:], 3.0), axis=[1, 2])
    return tf.keras.Model(inputs, lq.layers.QuantDense(5)(x))


def transposed():
    """A transposed convolution, which not every target has."""
    x = inputs = layers.Input((4, 4, 8))
    x = layers.BatchNormalization()(lq.layers.QuantConv2DTranspose(8, 2, strides=2, **SIGN)(x))
    x = lq.layers.QuantConv2D(4, 3, **SIGN)(x)
    return tf.keras.Model(inputs, x)


def nested():
    """A model within a model, and a layer that is called twice."""
    inner = tf.keras.Sequential(
        [layers.BatchNormalization(input_shape=(6,)), lq.layers.QuantDense(6, **SIGN)], name="inner"
    )
    x = inputs = layers.Input((6,))
    return tf.keras.Model(inputs, layers.Concatenate()([inner(inner(x)), x]))


def halves(w):
    """A quantizer of one's own: ± one number a kernel, as DoReFa-Net's."""
    return 0.5 * lq.math.sign(w)


def own_quantizers():
    """A scale of one's own, and quantizers that do nothing."""
    x = inputs = layers.Input((6, 6, 3))
    nothing = lq.quantizers.NoOp(precision=8)
    x = lq.layers.QuantConv2D(32, 3, input_quantizer=nothing, kernel_quantizer=nothing)(x)
    x = layers.BatchNormalization()(x)
    x = lq.layers.QuantConv2D(8, 3, input_quantizer="ste_sign", kernel_quantizer=halves)(x)
    x = layers.BatchNormalization()(x)
    x = lq.layers.QuantDense(4, input_quantizer="ste_sign", kernel_quantizer=halves)(layers.Flatten()(x))
    return tf.keras.Model(inputs, x)


def k_bits():
    """Two bits an activation."""
    x = inputs = layers.Input((8,))
    quantizer = lq.quantizers.DoReFa(k_bit=2)
    x = lq.layers.QuantDense(6, input_quantizer=quantizer, kernel_quantizer="ste_sign", name="two_bits")(
        x
    )
    return tf.keras.Model(inputs, x)


def ternary():
    """Kernels of -1, 0 and +1."""
    inputs = layers.Input((6, 6, 8))
    arguments = {**SIGN, "kernel_quantizer": "ste_tern"}
    return tf.keras.Model(inputs, lq.layers.QuantConv2D(8, 3, name="three_values", **arguments)(inputs))


SIGNED = (mnist, paddings, kinds, floats, transposed, nested, own_quantizers)
MODELS = {f.__name__: f for f in (*SIGNED, k_bits, ternary)}


class Subclassed(tf.keras.Model):
    """A model whose layers are no graph that can be read."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.dense = lq.layers.QuantDense(3, **SIGN)

    def call(self, x):
        return self.dense(x)


def unreadable():
    """Models that cannot pass, by what stands in the way."""
    image, vector = layers.Input((6, 6, 32)), layers.Input((8,))
    first = lq.layers.QuantConv2D(4, 3, data_format="channels_first", name="channels_come_first", **SIGN)
    local = lq.layers.QuantLocallyConnected2D(4, 3, name="local", **SIGN)
    batch = layers.Lambda(lambda x: tf.reduce_sum(x, axis=0, keepdims=True), name="adds_up_the_batch")
    return {
        "channels_come_first": tf.keras.Model(image, first(image)),
        "local": tf.keras.Model(image, local(image)),
        "adds_up_the_batch": tf.keras.Model(vector, batch(vector)),
        "sums_up": tf.keras.Model(vector, layers.Lambda(tf.math.cumsum, name="sums_up")(vector)),
        "subclassed": Subclassed(),
        "not_built": tf.keras.Sequential([lq.layers.QuantDense(3, **SIGN)], name="not_built"),
    }


def randomize(model, rng):
    """Random weights with ties: statistics are whole numbers in places, gammas of both signs and zero."""
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            whole = rng.random(shape) < 0.5
            mean = rng.normal(0, 3, shape)
            layer.moving_mean.assign(np.where(whole, np.round(mean), mean))
            layer.moving_variance.assign(rng.uniform(5, 30, shape))
            if layer.center:
                layer.beta.assign(np.where(whole, 0, rng.normal(0, 0.3, shape)))
            if layer.scale:
                layer.gamma.assign(rng.normal(size=shape) * (rng.random(shape) > 0.1))
        elif isinstance(layer, layers.PReLU | Rescale):
            layer.set_weights([rng.uniform(0.1, 0.4, w.shape) for w in layer.get_weights()])


def before_signs(model, x):
    """What the layers take the sign of, by layer: where each is called once."""
    from keras_sbn.larq.quantizers import SIGNS, quantizer_name

    taken = [y for y in model.layers if quantizer_name(getattr(y, "input_quantizer", None)) in SIGNS]
    if not taken:
        return {}
    inner = tf.keras.Model(model.inputs, [layer.input for layer in taken])
    values = tf.nest.flatten(inner(x, training=False))
    return {layer.name: value.numpy() for layer, value in zip(taken, values, strict=True)}


def main(folder):
    """Writes every model's description, data, and what it gives in float64."""
    from keras_sbn.larq.reading import describe

    for seed, (name, make) in enumerate(MODELS.items()):
        tf.keras.backend.set_floatx("float32")
        tf.keras.utils.set_random_seed(seed)
        model = make()
        rng = np.random.default_rng(seed)
        randomize(model, rng)
        if name in ("mnist", "k_bits"):
            model.save(folder / f"{name}.h5")
        if name == "mnist":
            model.save(folder / "mnist.keras")
            model.save(folder / "mnist_saved_model")
        x = rng.integers(-16, 17, (8, *model.input_shape[1:])).astype("float32") / 8
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(describe(model), protocol=5))
        names = [layer.name for layer in model.layers]
        y = model.predict(x, verbose=0)
        tf.keras.backend.set_floatx("float64")
        exact = make()
        exact.set_weights(model.get_weights())
        values = before_signs(exact, x.astype("float64"))
        renamed = dict(zip([layer.name for layer in exact.layers], names, strict=True))
        np.savez(folder / f"{name}.npz", x=x, y=y, y64=exact.predict(x.astype("float64"), verbose=0))
        np.savez(folder / f"{name}_values.npz", **{renamed[k]: v for k, v in values.items()})
    tf.keras.backend.set_floatx("float32")
    found = {}
    for name, model in unreadable().items():
        try:
            found[name] = describe(model)
        except ValueError as error:
            found[name] = str(error)
    (folder / "unreadable.pickle").write_bytes(pickle.dumps(found, protocol=5))
    tf.keras.utils.set_random_seed(0)
    (folder / "binarynet.pickle").write_bytes(pickle.dumps(describe(binarynet()), protocol=5))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
