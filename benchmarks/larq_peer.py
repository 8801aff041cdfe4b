"""The benchmarks' networks in Larq's layers through LCE's own converter, in a process with Keras 2.

TF_USE_LEGACY_KERAS=1 python benchmarks/larq_peer.py BinaryNet larq.tflite

Writes the file and prints its size, the seconds the conversion took and the peak memory, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def larq_binary_net():
    """The network of docs.larq.dev/larq/tutorials/binarynet_cifar10, with random statistics."""
    import larq as lq
    import tensorflow as tf

    keras = tf.keras
    kernel = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    both = {"input_quantizer": "ste_sign", **kernel}
    network = [lq.layers.QuantConv2D(128, 3, input_shape=(32, 32, 3), **kernel)]
    network.append(keras.layers.BatchNormalization(scale=False))
    for index, filters in enumerate((128, 256, 256, 512, 512)):
        network.append(lq.layers.QuantConv2D(filters, 3, padding="same", **both))
        if index % 2 == 0:
            network.append(keras.layers.MaxPool2D())
        network.append(keras.layers.BatchNormalization(scale=False))
    network.append(keras.layers.Flatten())
    for units in (1024, 1024, 10):
        network.append(lq.layers.QuantDense(units, **both))
        network.append(keras.layers.BatchNormalization(scale=False))
    model = keras.Sequential(network)
    randomize(keras, model)
    return model


def larq_residual_net():
    """The residual network of `networks.py`, its borders padded with ones as in Larq Zoo's QuickNet."""
    import larq as lq
    import tensorflow as tf

    keras = tf.keras
    binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}
    binary.update(kernel_constraint="weight_clip", padding="same", pad_values=1.0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(64, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    for section, filters in enumerate((64, 128, 256)):
        if section:
            x = keras.layers.MaxPool2D()(keras.layers.ReLU()(x))
            x = keras.layers.Conv2D(filters, 1, use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
        for _ in range(3):
            y = lq.layers.QuantConv2D(filters, 3, **binary)(x)
            x = keras.layers.add([x, keras.layers.BatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    randomize(keras, model)
    return model


def randomize(keras, model) -> None:
    """Gives every batch normalization random statistics."""
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *gamma, beta, _, variance = layer.get_weights()
            noise = rng.normal(0, 0.3, (2, *beta.shape))
            statistics = [10 * noise[1], rng.uniform(100, 2000, variance.shape)]
            layer.set_weights([*gamma, noise[0], *statistics])


def main() -> None:
    """Builds, converts, writes, and prints the figures."""
    import larq_compute_engine as lce

    name, path = sys.argv[1:]
    model = {"BinaryNet": larq_binary_net, "residual": larq_residual_net}[name]()
    started = time.perf_counter()
    content = lce.convert_keras_model(model)
    seconds = time.perf_counter() - started
    with open(path, "wb") as file:
        file.write(content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"file_bytes": len(content), "seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
