"""From a Keras model, as one writes it, to a binary one: its file, and what became of every layer."""

import argparse

import keras

import keras_sbn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20, help="of each of the two trainings")
options = parser.parse_args()

dataset = keras_sbn.data.load("digits")


def train(model, learning_rate, **arguments):
    """Returns the accuracy on the validation images after a training."""
    steps = options.epochs * -(-len(dataset.train) // 64)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(dataset.batches("train", 64), epochs=options.epochs, **arguments)
    return model.evaluate(*dataset.arrays("validation"), verbose=0)[1]


# An ordinary network: biases, ReLUs in the layers, no batch normalization.
float_model = keras.Sequential(
    [
        keras.Input(dataset.input_shape),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(dataset.classes),
    ]
)
float_accuracy = train(float_model, 3e-3)

result = keras_sbn.binary_model(float_model)
print(result)
binary_accuracy = train(result.model, 1e-2, callbacks=[keras_sbn.callbacks.Sharpen()])
converted = keras_sbn.convert(result.model, "tflite")
print(f"accuracy: float {float_accuracy:.4f}, binary {binary_accuracy:.4f}")
print(keras_sbn.verify(converted, result.model, dataset.arrays("validation")[0]))
converted.save("float_to_binary.tflite")
