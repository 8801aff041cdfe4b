"""Conv1D on signals: tells four chirps in noise apart. The data are made here.

The files have no one-dimensional convolution; the conversion makes it one of two dimensions and height 1.
"""

import argparse

import keras
import numpy as np

import keras_sbn
from keras_sbn import layers

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--samples", type=int, default=4000)
options = parser.parse_args()

WORDS = ("rising", "falling", "high", "low")
LENGTH = 128


def signals(count, seed):
    """Returns signals `(count, 128, 1)`, multiples of 1/64 exact in int8, and their words."""
    rng = np.random.default_rng(seed)
    words = rng.integers(len(WORDS), size=count)
    start, end = np.array([(4, 16), (16, 4), (16, 16), (4, 4)])[words].T
    time = np.linspace(0, 1, LENGTH)
    cycles = start[:, None] * time + (end - start)[:, None] * time**2 / 2
    x = np.sin(2 * np.pi * (cycles + rng.random((count, 1)))) + rng.normal(0, 0.3, (count, LENGTH))
    return (np.round(64 * x) / 64).astype("float32")[..., None], words


def activate(x):
    """Normalization and activation, in the order that folds."""
    return layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(x))


inputs = x = keras.Input((LENGTH, 1))
x = activate(layers.SelfBinarizingConv1D(32, 16, strides=4, padding="valid")(x))
x = activate(keras.layers.MaxPooling1D()(layers.SelfBinarizingConv1D(32, 5, padding="same")(x)))
x = layers.SelfBinarizingDense(len(WORDS))(keras.layers.Flatten()(x))
model = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9)(x))  # logits

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
model.fit(
    *signals(options.samples, 0),
    batch_size=64,
    epochs=options.epochs,
    callbacks=[keras_sbn.callbacks.Sharpen()],
)

x_test, y_test = signals(500, 1)
print("accuracy of the binary network:", model.evaluate(x_test, y_test, verbose=0)[1])
for target in ("lce", "tflite"):
    # The first layer reads the signal itself, so it is the one that may be float.
    converted = keras_sbn.convert(model, target, allow_float_fallback=True)
    print(converted.report)
    try:
        print(keras_sbn.verify(converted, model, x_test))
    except ImportError as error:  # The Larq Compute Engine has no wheel for this Python.
        print(f"not compared: {error}")
    converted.save(f"keyword_conv1d_{target}.tflite")
