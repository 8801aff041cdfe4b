"""Writes the small whole files in `seeds`: python tests/fuzz/write_seeds.py."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from PIL import Image

import keras_sbn

SEEDS = Path(__file__).parent / "seeds"


def model() -> keras.Model:
    """Binary convolutions with and without bits between, a pool, a dense layer."""
    keras.utils.set_random_seed(0)
    layers = keras_sbn.layers
    inputs = x = keras.Input((6, 6, 2), name="image")
    for filters in (32, 32):
        x = layers.SelfBinarizingConv2D(filters, 3, padding="same")(x)
        x = layers.BinaryBatchNormalization()(x)
        x = layers.SelfBinarizingActivation()(keras.layers.MaxPooling2D()(x))
    x = layers.SelfBinarizingDense(3)(keras.layers.Flatten()(x))
    made = keras.Model(inputs, layers.BinaryBatchNormalization()(x))
    keras_sbn.binarize(made)
    return made


def main() -> None:
    """Writes them all."""
    SEEDS.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    network = model()
    data = rng.normal(size=(8, 6, 6, 2)).astype("float32")
    keras_sbn.convert(network).save(SEEDS / "lce.tflite")
    keras_sbn.convert(network, target="tflite").save(SEEDS / "portable.tflite")
    labelled = {"labels": ["cat", "dog", "naïve"], "input_range": (-1.0, 1.0)}
    keras_sbn.convert(network, target="tflite", **labelled).save(SEEDS / "metadata.tflite")
    int8 = {"activations": "int8", "representative_data": data, "input_type": "uint8"}
    small = keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    )
    keras_sbn.convert(small, target="tflite", **int8).save(SEEDS / "int8.tflite")
    picture = rng.integers(0, 256, (9, 7, 3), "uint8")
    colours, grey = Image.fromarray(picture), Image.fromarray(picture[..., 0])
    colours.save(SEEDS / "colours.png")
    colours.save(SEEDS / "colours.jpg", exif=_turned())
    grey.save(SEEDS / "grey.gif", save_all=True, append_images=[grey])
    colours.save(SEEDS / "colours.webp")
    grey.save(SEEDS / "grey.bmp")
    colours.convert("CMYK").save(SEEDS / "inks.tif", compression="tiff_lzw")
    Image.fromarray(picture[..., 0].astype("uint16") * 257).save(SEEDS / "deep.png")


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


if __name__ == "__main__":
    main()
