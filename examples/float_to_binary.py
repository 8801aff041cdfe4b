"""From a plain Keras model to a binary one: the same graph, other layers, started from its weights."""

import argparse

import keras

import keras_sbn
from keras_sbn import layers

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=15, help="of each of the two trainings")
options = parser.parse_args()

dataset = keras_sbn.data.load("digits")


def train(model, **arguments):
    """Returns the accuracy on the validation images after a training."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
    model.fit(dataset.batches("train", 64), epochs=options.epochs, **arguments)
    return model.evaluate(*dataset.arrays("validation"), verbose=0)[1]


# Batch normalization before every activation, and pools before it: what a binary network needs anyway.
inputs = x = keras.Input(dataset.input_shape)
for filters in (16, 32):
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Activation("tanh")(x)
x = keras.layers.Dense(dataset.classes, use_bias=False)(keras.layers.Flatten()(x))
float_model = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9)(x))
float_accuracy = train(float_model)


def binary_layer(layer):
    """Returns the self-binarizing layer in place of a float one; other layers are copied."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.Conv2D):
        names = ("name", "filters", "kernel_size", "strides", "padding", "use_bias")
        return layers.SelfBinarizingConv2D(**{name: config[name] for name in names})
    if isinstance(layer, keras.layers.Dense):
        return layers.SelfBinarizingDense(
            **{name: config[name] for name in ("name", "units", "use_bias")}
        )
    if isinstance(layer, keras.layers.Activation):
        return layers.SelfBinarizingActivation(name=layer.name)
    return type(layer).from_config(config)


binary_model = keras.models.clone_model(float_model, clone_function=binary_layer)
for layer in float_model.layers:
    for weight in layer.weights:
        same = [w for w in binary_model.get_layer(layer.name).weights if w.name == weight.name]
        if same:
            same[0].assign(weight)

binary_accuracy = train(binary_model, callbacks=[keras_sbn.callbacks.Sharpen()])
converted = keras_sbn.convert(binary_model, "tflite")
print(f"accuracy: float {float_accuracy:.4f}, binary {binary_accuracy:.4f}")
print(keras_sbn.verify(converted, binary_model, dataset.arrays("validation")[0]))
converted.save("float_to_binary.tflite")
