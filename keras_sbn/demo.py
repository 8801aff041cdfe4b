"""The whole path on real images: train, sharpen, fold, convert, run, and compare."""

from __future__ import annotations

import json
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
from keras_sbn.conversion.targets import TARGETS
from keras_sbn.data import load
from keras_sbn.extras import installed, remedy, why_not_run
from keras_sbn.files import save_model, write_atomically
from keras_sbn.folding.fold import fold
from keras_sbn.summary import summary
from keras_sbn.tables import format_table
from keras_sbn.verification.verify import verify

_CLASSES = 10
#: The digits are images of 17 levels of grey, trained on as `image / 16`.
_INPUT_SCALING = (1 / 16, 0.0)


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        test_images: Number of test images.
        target: Target of the file.
        runtime: What ran the file, such as "LiteRT, one-bit kernels, avx512".
        accuracy: Share of correct predictions of the `soft` (as training left it), `hard`, `folded` and
            `file` models.
        differing_from_hard: Number of test images each model predicts otherwise than the hard one.
        differing_logits: Number of logits in which the file and the folded model are not equal bit for
            bit.
        file_bytes: Size of the file.
        float32_bytes: Size of the parameters, were they all float32.
        seconds: Time of the run.
    """

    test_images: int
    target: str
    runtime: str
    accuracy: dict[str, float]
    differing_from_hard: dict[str, int]
    differing_logits: int
    file_bytes: int
    float32_bytes: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether folded model and file predict what the hard model predicts, on every image."""
        return self.differing_from_hard["folded"] == 0 and self.differing_from_hard["file"] == 0

    def __str__(self) -> str:
        names = {"soft": "as trained", "hard": "hard (sign)", "folded": "folded", "file": ".tflite file"}
        rows = [
            (label, f"{100 * self.accuracy[name]:.2f} %", self.differing_from_hard[name])
            for name, label in names.items()
        ]
        table = format_table(("model", "accuracy", "predictions unlike the hard model's"), rows, "lrr")
        ratio = self.float32_bytes / self.file_bytes
        return (
            f"{table}\n\n"
            f".tflite file, target {self.target!r}  {self.file_bytes:>9,} bytes, run by {self.runtime}\n"
            f"parameters in float32{'':{len(self.target) + 2}}  {self.float32_bytes:>9,} bytes, "
            f"{ratio:.1f} times as much\n"
            f"logits of the file unlike the folded model's: {self.differing_logits}\n"
            f"{self.test_images} test images, {self.seconds:.0f} s"
        )


def best_target() -> str:
    """The first target whose file can be run here.

    Raises:
        ImportError: If there is none.
    """
    reasons = []
    for target in TARGETS:
        reason = why_not_run(target)
        if reason is None:
            return target
        reasons.append(f"{target}: {reason}")
    raise ImportError(f"The demo needs a runtime for its file. {'. '.join(reasons)}")


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Loads scikit-learn's handwritten digits, split 80 : 20 with equal shares of the classes.

    Returns:
        `(x_train, y_train), (x_test, y_test)`; images `(n, 8, 8, 1)` in [0, 1], multiples of 1/16.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    dataset = load("digits")
    return dataset.arrays("train"), dataset.arrays("validation")


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

    The file is for the best runtime that is installed: LiteRT with the one-bit kernels of
    keras-sbn-kernels, the Larq Compute Engine, or stock TFLite. Writes `digits.keras`,
    `digits.tflite`, `report.json` and, with matplotlib, `training.png` into `out`.

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
    target = best_target()
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
    say(f"folding, converting for target {target!r}, and running the file")
    # Folded and converted, the network takes the 8-bit images, and its first layer sums integers.
    folded = fold(model, input_scaling=_INPUT_SCALING)
    images = np.round(x_test / _INPUT_SCALING[0]).astype("uint8")
    outputs["folded"] = folded.predict(images, verbose=0)
    converted = convert(folded, target)
    outputs["file"] = converted.predict(images)
    verification = verify(converted, folded, images)
    predicted = {name: decisions(values) for name, values in outputs.items()}
    result = DemoResult(
        test_images=len(x_test),
        target=target,
        runtime=verification.runtime,
        accuracy={name: float(np.mean(classes == y_test)) for name, classes in predicted.items()},
        differing_from_hard={
            name: int(np.count_nonzero(classes != predicted["hard"]))
            for name, classes in predicted.items()
        },
        differing_logits=verification.differing_outputs,
        file_bytes=len(converted.content),
        float32_bytes=summary(model).float_memory // 8,
        seconds=time.perf_counter() - started,
    )
    save_model(model, folder / "digits.keras")
    converted.save(folder / "digits.tflite")
    report = {**asdict(result), **converted.report.to_dict()}
    write_atomically(folder / "report.json", json.dumps(report, indent=2).encode())
    written = ["digits.keras", "digits.tflite", "report.json"]
    if installed("matplotlib"):
        plots.training_report(history, record.snapshots, folder / "training.png")
        written.append("training.png")
    else:
        say(f"no picture of the training, which needs matplotlib: {remedy('plot')}")
    say(f"\n{converted.report}\n\n{result}\n\nwritten to {folder}:")
    for name in written:
        say(f"  {name}")
    return result
