"""TensorFlow's own files of a float model, float32 and post-training int8; runs in a process of its own.

The process has TensorFlow as the backend of Keras, whatever that of the training is.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from typing import Any

from keras_sbn.process import ChildProcess, Connection


def tensorflow_files(path: str, images: Any) -> tuple[bytes, bytes]:
    """Converts a float model with TensorFlow's converter.

    Args:
        path: The `.keras` file.
        images: Some hundred inputs, float32, for the ranges of int8 values.

    Returns:
        The file of float32, and that of int8 with inputs and outputs of float32.

    Raises:
        ImportError: If TensorFlow is not installed.
        RuntimeError: If TensorFlow does not convert it; likewise OSError and ValueError.
    """
    import sys

    environment = {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # An accelerator may be taken whole by this process.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    task = "convert a float model with TensorFlow"
    with ChildProcess(serve, task, environment=environment, search_path=sys.path) as child:
        child.send((path, images))
        float32, int8 = child.receive()
        return float32, int8


def serve(connection: Connection) -> None:
    """Converts what it is sent."""
    connection.answer(_convert, *connection.receive())


def _convert(path: str, images: Any) -> tuple[bytes, bytes]:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        # One image: the converter asks for no other size, and the files are run so.
        inputs = keras.Input(batch_shape=(1, *images.shape[1:]))
        keras.Model(inputs, model(inputs)).export(folder, format="tf_saved_model")
        float32 = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([images[i : i + 1]] for i in range(len(images)))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return bytes(float32), bytes(converter.convert())
