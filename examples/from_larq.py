"""From a Larq model to a .tflite, and to a Keras 3 model that goes on training."""

import argparse

import numpy as np

import keras_sbn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help=".h5, .keras or SavedModel of Larq")
parser.add_argument("--target", choices=("lce", "tflite"), default="lce")
parser.add_argument("--samples", type=int, default=64, help="random inputs to compare on")
options = parser.parse_args()

model = keras_sbn.larq.from_larq(options.model, trainable=True)
model.summary()
converted = keras_sbn.convert(model, options.target)
print(converted.report)
shape = (options.samples, *model.input_shape[1:])
# Multiples of 1/8 add up without rounding, so that a difference would be a real one.
x = np.random.default_rng(0).integers(-16, 17, shape).astype("float32") / 8
print(keras_sbn.verify(converted, model, x))
converted.save("from_larq.tflite")
model.save("from_larq.keras")  # compile and fit it as any other
