"""What `keras_sbn.binary_model` makes of the networks of `keras.applications`, and what their files hold.

    python benchmarks/applications.py
    python benchmarks/applications.py --networks MobileNetV2 ResNet50 --size 96

Weights are random, as no pretrained ones are downloaded; statistics of batch normalization are estimated
on random images, so that values have the sizes of a trained network's. A network is made binary, folded
and converted for LCE and to stock operators, and both files run on a few images beside the Keras model.
Nothing is trained: the table says what converts, not how accurate it is.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_sbn
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.tables import format_table

#: One of each family.
NETWORKS = (
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "NASNetMobile",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
)
HEADER = (
    "network",
    "weights, million",
    "of one bit, %",
    "multiplications of bits, %",
    "float32, MB",
    "LCE, MB",
    "stock, MB",
    "decisions that differ",
)


def main() -> None:
    """Prints a row a network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="names of keras.applications")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--images", type=int, default=4, help="how many are compared")
    options = parser.parse_args()
    rows = []
    for name in options.networks:
        rows.append(row_of(name, options.size, options.images))
        print(*rows[-1], flush=True)
        keras.utils.clear_session()
    print(format_table(HEADER, rows, "lrrrrrrr"))


def row_of(name: str, size: int, images: int) -> tuple[str, ...]:
    """Converts a network, and compares its files with it."""
    keras.utils.set_random_seed(0)
    made = getattr(keras.applications, name)
    model = made(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    result = keras_sbn.binary_model(model)
    network = result.model
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, size, size, 3)).astype("float32")
    keras_sbn.binarize(network)
    keras_sbn.reestimate_batch_normalization(network, x, batch_size=8)
    counts = keras_sbn.summary(network)
    weights = model.count_params()
    kept = (
        name,
        f"{weights / 1e6:.1f}",
        f"{100 * counts.binary_parameters / counts.parameters:.0f}",
        f"{100 * counts.binary_macs / counts.macs:.0f}",
        f"{4 * weights / 1e6:.1f}",
    )
    folded = keras_sbn.fold(network)
    megabytes, differing = [], 0
    try:
        for target in ("lce", "tflite"):
            converted = keras_sbn.convert(folded, target, allow_float_fallback=True)
            megabytes.append(f"{len(converted.content) / 1e6:.1f}")
            differing += keras_sbn.verify(converted, network, x[:images]).differing_decisions
    except LoweringError as error:
        return (*kept, "", "", str(error).split("Received: ")[1].split(". ")[0])
    return (*kept, *megabytes, f"{differing} of {2 * images}")


if __name__ == "__main__":
    main()
