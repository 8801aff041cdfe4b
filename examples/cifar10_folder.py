"""Trains on a folder of images: `class/*.png`, or `train/class/*.png` beside `test/class/*.png`.

`keras-sbn train --model resnet20 --dataset FOLDER` does the same, with checkpoints and a report.
"""

import argparse

import keras

import keras_sbn

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("folder")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--model", default="resnet20", help="architecture of keras_sbn.models")
parser.add_argument("--alpha", type=float, default=1.0, help="its width multiplier")
parser.add_argument("--image-size", type=int, nargs=2, default=(32, 32))
options = parser.parse_args()

dataset = keras_sbn.data.load(options.folder, image_size=tuple(options.image_size))
train, validation = (dataset.batches(split, options.batch_size) for split in ("train", "validation"))
model = keras_sbn.models.by_name(options.model)(
    input_shape=dataset.input_shape, alpha=options.alpha, classes=dataset.classes
)
print(keras_sbn.summary(model))

decay = keras.optimizers.schedules.CosineDecay(1e-2, options.epochs * len(train))
model.compile(keras.optimizers.Adam(decay), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    train,
    validation_data=validation,
    epochs=options.epochs,
    callbacks=[keras_sbn.callbacks.Sharpen()],
)

# Images as a camera gives them, uint8: the scaling of the data becomes part of the file.
folded = keras_sbn.fold(model, input_scaling=dataset.input_scaling)
converted = keras_sbn.convert(folded, "tflite")
print(converted.report)
converted.save("cifar10_folder.tflite")
