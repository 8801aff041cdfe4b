"""Trains a binary network on handwritten digits and writes it as a .tflite that predicts the same."""

import argparse

import keras

from keras_sbn import callbacks, convert, data, fold, layers, verify

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--target", choices=("lce", "tflite"), default="tflite")
options = parser.parse_args()

dataset = data.load("digits")
inputs = x = keras.Input(dataset.input_shape)
for filters in (32, 64):
    x = layers.SelfBinarizingConv2D(filters, 3, padding="same")(x)
    x = layers.BinaryBatchNormalization()(keras.layers.MaxPooling2D()(x))
    x = layers.SelfBinarizingActivation()(x)
x = layers.SelfBinarizingDense(dataset.classes)(keras.layers.Flatten()(x))
x = keras.layers.BatchNormalization(momentum=0.9)(x)
model = keras.Model(inputs, keras.layers.Softmax()(x))
model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(dataset.batches("train", 64), epochs=options.epochs, callbacks=[callbacks.Sharpen()])

x_test, y_test = dataset.arrays("validation")
print("accuracy of the binary network:", model.evaluate(x_test, y_test, verbose=0)[1])
converted = convert(fold(model), options.target)
print(converted.report)
print(verify(converted, model, x_test))
converted.save("quickstart.tflite")
