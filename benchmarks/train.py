"""Trains the benchmarks' networks for a few hundred steps, so that weights and statistics are realistic.

python benchmarks/train.py --data-dir cifar10/train

Writes out/benchmarks/BinaryNet.keras and residual.keras, hard. Without --data-dir, a folder with a folder
of 32 x 32 images a class, scikit-learn's digits in three colours stand for the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import networks
import numpy as np

import keras_sbn
from keras_sbn.demo import digits
from keras_sbn.sharpening import sharpen


def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, each pixel four by four, as 8-bit images of three colours."""
    (x, y), _ = digits()
    x = 255 * (x - x.min()) / (x.max() - x.min())
    x = x.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    return x.round().astype("uint8"), y


def main() -> None:
    """Trains both networks and prints their training accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with a folder of images a class")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    if options.data_dir:
        pixels, y = networks.read_images(options.data_dir, options.steps * options.batch)
    else:
        pixels, y = digit_images()
    chosen = np.random.default_rng(0).permutation(len(y))
    networks.TRAINED.mkdir(parents=True, exist_ok=True)
    for name, (build, _) in networks.NETWORKS.items():
        # Fresh initial weights: the random ones are not made for training.
        model = keras.models.clone_model(build())
        sharpen(model, 0.0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
        steps = options.steps
        index = chosen[np.arange(steps * options.batch) % len(chosen)]
        found = model.fit(
            networks.scaled(pixels[index]),
            y[index],
            batch_size=options.batch,
            shuffle=False,
            callbacks=[keras_sbn.callbacks.Sharpen()],
            verbose=0,
        )
        keras_sbn.reestimate_batch_normalization(model, networks.scaled(pixels[index[:512]]))
        path = networks.TRAINED / f"{name}.keras"
        model.save(path)
        print(f"{name}: {steps} steps, accuracy {found.history['accuracy'][0]:.3f}, {path}", flush=True)


if __name__ == "__main__":
    main()
