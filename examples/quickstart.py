"""Trains a binary network on handwritten digits and writes it as a .tflite that predicts the same."""

import argparse

import keras

import keras_sbn
from keras_sbn.layers import BinaryBatchNormalization, SelfBinarizingActivation

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--target", choices=("lce", "tflite"), default="lce")
options = parser.parse_args()

dataset = keras_sbn.data.load("digits")
inputs = x = keras.Input(dataset.input_shape)
for filters in (32, 64):
    x = keras_sbn.layers.SelfBinarizingConv2D(filters, 3, padding="same")(x)
    x = BinaryBatchNormalization()(keras.layers.MaxPooling2D()(x))
    x = SelfBinarizingActivation()(x)
x = keras_sbn.layers.SelfBinarizingDense(dataset.classes)(keras.layers.Flatten()(x))
model = keras.Model(inputs, BinaryBatchNormalization()(x))  # logits

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
model.fit(dataset.batches("train", 64), epochs=options.epochs, callbacks=[keras_sbn.callbacks.Sharpen()])

x_test, y_test = dataset.arrays("validation")
print("accuracy of the binary network:", model.evaluate(x_test, y_test, verbose=0)[1])
converted = keras_sbn.convert(keras_sbn.fold(model), options.target)
print(converted.report)
print(keras_sbn.verify(converted, model, x_test))
converted.save("quickstart.tflite")
