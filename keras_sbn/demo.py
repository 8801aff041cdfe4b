"""The whole path on real images: train, sharpen, fold, convert, run, and compare."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn import models, plots
from keras_sbn.binarize import binarize, decisions
from keras_sbn.callbacks import HardValidation, RecordWeights, Sharpen
from keras_sbn.conversion.convert import convert
from keras_sbn.data import load
from keras_sbn.files import save_model, write_atomically
from keras_sbn.folding.fold import fold
from keras_sbn.tables import format_table
from keras_sbn.verification.verify import verify

_FILTERS = (32, 64, 64)
_UNITS = 128
_CLASSES = 10


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        test_images: Number of test images.
        accuracy: Share of correct predictions of the `soft` (as training left it), `hard`, `folded` and
            `lce` models.
        differing_from_hard: Number of test images each model predicts otherwise than the hard one.
        differing_logits: Number of logits in which the file and the folded model are not equal bit for
            bit.
        file_bytes: Size of the LCE file.
        float32_bytes: Size of the same network in float32 TFLite.
        seconds: Time of the run.
    """

    test_images: int
    accuracy: dict[str, float]
    differing_from_hard: dict[str, int]
    differing_logits: int
    file_bytes: int
    float32_bytes: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether folded model and file predict what the hard model predicts, on every image."""
        return self.differing_from_hard["folded"] == 0 and self.differing_from_hard["lce"] == 0

    def __str__(self) -> str:
        names = {"soft": "as trained", "hard": "hard (sign)", "folded": "folded", "lce": "LCE file"}
        rows = [
            (label, f"{100 * self.accuracy[name]:.2f} %", self.differing_from_hard[name])
            for name, label in names.items()
        ]
        table = format_table(("model", "accuracy", "predictions unlike the hard model's"), rows, "lrr")
        ratio = self.float32_bytes / self.file_bytes
        return (
            f"{table}\n\n"
            f"LCE file          {self.file_bytes:>9,} bytes\n"
            f"float32 TFLite    {self.float32_bytes:>9,} bytes, {ratio:.1f} times as much\n"
            f"logits of the file unlike the folded model's: {self.differing_logits}\n"
            f"{self.test_images} test images, {self.seconds:.0f} s"
        )


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Loads scikit-learn's handwritten digits, split 80 : 20 with equal shares of the classes.

    Returns:
        `(x_train, y_train), (x_test, y_test)`; images `(n, 8, 8, 1)` in [0, 1], multiples of 1/16.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    dataset = load("digits")
    return dataset.arrays("train"), dataset.arrays("validation")


def float_network() -> Any:
    """The shapes of `keras_sbn.models.TinyConv` with Keras's own float layers."""

    def activate(x: Any) -> Any:
        return keras.layers.Activation("tanh")(keras.layers.BatchNormalization()(x))

    inputs = x = keras.Input((8, 8, 1))
    for index, filters in enumerate(_FILTERS):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        if index:
            x = keras.layers.MaxPooling2D()(x)
        x = activate(x)
    x = keras.layers.Flatten()(x)
    x = activate(keras.layers.Dense(_UNITS, use_bias=False)(x))
    x = keras.layers.Dense(_CLASSES, use_bias=False)(x)
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


def float32_tflite(model: Any) -> bytes:
    """Converts a Keras model with TensorFlow's own converter.

    Raises:
        ImportError: If TensorFlow is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "The float32 file to compare with needs TensorFlow: pip install 'keras-sbn[tensorflow]'"
        ) from error
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        model.export(folder, format="tf_saved_model")
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


class _Progress(keras.callbacks.Callback):
    """Prints a line every few epochs."""

    def __init__(self, epochs: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._every = max(epochs // 10, 1)
        self._epochs = epochs
        self._say = say

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done, logs = epoch + 1, logs or {}
        if done % self._every == 0 or done == self._epochs:
            self._say(
                f"epoch {done:>3}/{self._epochs}  sharpness {logs['sharpness']:<9.3g}  accuracy: "
                f"training {100 * logs['accuracy']:6.2f} %  test {100 * logs['val_accuracy']:6.2f} %  "
                f"hard {100 * logs['val_hard_accuracy']:6.2f} %"
            )


def run_demo(
    out: str | Path = "out/demo",
    epochs: int = 40,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Trains on the digits, goes the whole path to a `.tflite` file, and compares every model.

    Writes `digits.keras`, `digits.tflite`, `report.json` and `training.png` into `out`.

    Args:
        out: Folder for the results; made where missing.
        epochs: Positive number of epochs.
        seed: Seed of initial weights and shuffling.
        say: Receives lines of progress.

    Returns:
        A `DemoResult`; `print` shows it as a table.

    Raises:
        ImportError: If an optional package is missing; the message names it.
        OSError: If `out` cannot be written.
        ValueError: If `epochs` is not positive.
    """
    if epochs < 1:
        raise ValueError(f"Expected `epochs` to be positive. Received: epochs={epochs}")
    started = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    train, (x_test, y_test) = digits()
    model = models.TinyConv((8, 8, 1), classes=_CLASSES, classifier_activation=None, name="digits")
    batch_size = 64
    steps = epochs * -(-len(train[0]) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    say(f"training on {len(train[0])} images of handwritten digits, testing on {len(x_test)}")
    record = RecordWeights()
    # Left as training leaves it for now, so that it can be compared with the hard network.
    history = model.fit(
        *train,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=(x_test, y_test),
        callbacks=[
            HardValidation((x_test, y_test)),
            Sharpen(binarize=False),
            record,
            _Progress(epochs, say),
        ],
        verbose=0,
    )
    outputs = {"soft": model.predict(x_test, verbose=0)}
    binarize(model)
    outputs["hard"] = model.predict(x_test, verbose=0)
    say("folding, converting, and running the file")
    folded = fold(model)
    outputs["folded"] = folded.predict(x_test, verbose=0)
    converted = convert(folded)
    outputs["lce"] = converted.predict(x_test)
    float32_bytes = len(float32_tflite(float_network()))
    predicted = {name: decisions(values) for name, values in outputs.items()}
    result = DemoResult(
        test_images=len(x_test),
        accuracy={name: float(np.mean(classes == y_test)) for name, classes in predicted.items()},
        differing_from_hard={
            name: int(np.count_nonzero(classes != predicted["hard"]))
            for name, classes in predicted.items()
        },
        differing_logits=verify(converted, folded, x_test).differing_outputs,
        file_bytes=len(converted.content),
        float32_bytes=float32_bytes,
        seconds=time.perf_counter() - started,
    )
    save_model(model, folder / "digits.keras")
    converted.save(folder / "digits.tflite")
    report = {**asdict(result), **converted.report.to_dict()}
    write_atomically(folder / "report.json", json.dumps(report, indent=2).encode())
    plots.training_report(history, record.snapshots, folder / "training.png")
    say(f"\n{converted.report}\n\n{result}\n\nwritten to {folder}:")
    for name in ("digits.keras", "digits.tflite", "report.json", "training.png"):
        say(f"  {name}")
    return result
