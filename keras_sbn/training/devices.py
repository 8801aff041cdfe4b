"""Training on several devices, through Keras's own distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def on_devices(count: int) -> Iterator[None]:
    """Within it, models are made for and trained on `count` devices, each with a share of every batch.

    Args:
        count: Number of devices; 1 changes nothing.

    Raises:
        ValueError: If the backend has fewer devices, or cannot train on several.
    """
    if count == 1:
        yield
        return
    backend = keras.backend.backend()
    if backend == "jax":
        found: list[Any] = list(keras.distribution.list_devices())
    elif backend == "tensorflow":
        found = _tensorflow_devices()
    else:
        raise ValueError(
            f"Expected one device with the backend {backend!r}: Keras distributes over several with "
            f"TensorFlow and JAX. Received: devices={count}"
        )
    if len(found) < count:
        raise ValueError(
            f"Expected at most {len(found)} devices, those {backend} has: {found}. Received: "
            f"devices={count}"
        )
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(found[:count]).scope():
            yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found[:count]))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _tensorflow_devices() -> list[str]:
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]
