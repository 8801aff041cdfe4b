"""What a training gave."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from keras_sbn.tables import format_table
from keras_sbn.training import beside
from keras_sbn.training.callbacks import duration
from keras_sbn.training.checkpoints import RunState
from keras_sbn.training.mistakes import ClassResult


@dataclass(frozen=True)
class FileResult:
    """A converted file: its bytes, and on how many of `samples` images it decides unlike the model.

    `samples` is 0 where nothing that is installed runs the file; then it has no latency either.
    `median_ms` is the time of an image in `runtime` on this machine, on one thread.
    """

    name: str
    bytes: int
    samples: int
    differing_decisions: int
    differing_outputs: int
    layers: tuple[dict[str, Any], ...]
    median_ms: float | None = None
    runtime: str | None = None


@dataclass(frozen=True)
class TrainResult:
    """What a training gave; `print` shows it as a table.

    Attributes:
        folder: Folder of the run.
        accuracy: Share of correct predictions on the validation images: `soft` (as training left it, at
            its last sharpness), `hard` (signs, with the statistics of the training), `reestimated`
            (hard, with those of the hard network; the model that is kept) and `folded`.
        validation_images: How many there are.
        folded_unlike_hard: On how many of them folded and hard model decide otherwise. The one has exact
            sums of integers where the other rounds.
        float_bytes: Bytes of the parameters, were they all float32.
        files: A `FileResult` a target.
        classes: A `ClassResult` a class: how the folded network recognizes it.
        beside: Of a run with `source`: the float model, its int8 file and the binary ones, a `Beside`
            each.
        history: From name to the values of the epochs.
        seconds: Time of the training.
    """

    folder: str
    accuracy: dict[str, float]
    validation_images: int
    folded_unlike_hard: int
    float_bytes: int
    files: tuple[FileResult, ...]
    classes: tuple[ClassResult, ...]
    beside: tuple[beside.Beside, ...]
    history: dict[str, list[float]]
    seconds: float

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the highest hard validation accuracy, from 1 on: `checkpoints/best.keras`."""
        return RunState(history=self.history).best_epoch()

    @property
    def exact(self) -> bool:
        """Whether every file decides as the folded model, on all images that were compared."""
        return all(file.differing_decisions == 0 for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures for JSON, which has no infinity: `None` where the sharpness is infinite."""
        history = {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in self.history.items()
        }
        return {**asdict(self), "history": history, "best_epoch": self.best_epoch}

    def __str__(self) -> str:
        names = {
            "soft": "as trained",
            "hard": "hard (sign)",
            "reestimated": "hard, statistics estimated again",
            "folded": "folded",
        }
        rows = [
            (label, f"{100 * self.accuracy[name]:.2f} %")
            for name, label in names.items()
            if name in self.accuracy
        ]
        lines = [format_table(("model", "accuracy"), rows, "lr"), ""]
        if self.beside:
            lines += [format_table(beside.HEADER, beside.rows(self.beside), "lrrr"), ""]
        for file in self.files:
            ratio = self.float_bytes / file.bytes
            compared = (
                f"{file.differing_decisions} of {file.samples} decisions unlike the folded model's"
                if file.samples
                else "not run here, and so not compared with the model"
            )
            if file.median_ms is not None:
                compared += f"; {file.median_ms:.3f} ms an image in {file.runtime}"
            lines.append(
                f"{file.name}: {file.bytes:,} bytes, float32 parameters take {ratio:.1f} times as many; "
                f"{compared}"
            )
        worst = min((one for one in self.classes if one.images), key=lambda one: one.accuracy or 0.0)
        lines.append(
            f"worst class: {worst.name!r}, {worst.correct} of {worst.images} images"
            + (f", {worst.times} taken for {worst.taken_for!r}" if worst.taken_for else "")
        )
        best = self.best_epoch
        if best is not None:
            hard = self.history["val_hard_accuracy"]
            lines.append(
                f"best epoch by hard accuracy: {best} of {len(hard)} with "
                f"{100 * hard[best - 1]:.2f} %, kept as checkpoints/best.keras"
            )
        lines.append(f"{self.validation_images} validation images; trained for {duration(self.seconds)}")
        return "\n".join(lines)
