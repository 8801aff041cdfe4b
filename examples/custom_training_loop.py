"""A training loop of one's own with GradientTape: sharpen before a step, binarize at the end."""

import argparse

import keras
import numpy as np

import keras_sbn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()
if keras.backend.backend() != "tensorflow":
    raise SystemExit("This example needs the TensorFlow backend: KERAS_BACKEND=tensorflow")

import tensorflow as tf  # noqa: E402

dataset = keras_sbn.data.load("digits")
batches = dataset.batches("train", 64)
model = keras_sbn.models.TinyConv(
    dataset.input_shape, alpha=0.5, classes=dataset.classes, classifier_activation=None
)
loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam(1e-2)
optimizer.build(model.trainable_variables)


@tf.function
def step(x, y):
    """One step of Adam on a batch."""
    with tf.GradientTape() as tape:
        loss = loss_of(y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


schedule = keras_sbn.schedules.Exponential()
steps = options.epochs * len(batches)
for epoch in range(options.epochs):
    losses = []
    for index in range(len(batches)):
        progress = (epoch * len(batches) + index) / steps
        keras_sbn.sharpen(model, progress, schedule)  # the compiled step sees the new value
        losses.append(float(step(*batches[index])))
    batches.on_epoch_end()  # another order
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, sharpness {schedule(progress):.4g}")

print(keras_sbn.binarize(model))
x_test, y_test = dataset.arrays("validation")
print("accuracy:", float(np.mean(model.predict(x_test, verbose=0).argmax(-1) == y_test)))
print(keras_sbn.verify(keras_sbn.convert(model, "tflite"), model, x_test))
