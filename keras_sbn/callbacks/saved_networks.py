"""What other callbacks have saved of a network during its training, and whether it was soft then.

`ModelCheckpoint(monitor="val_accuracy", save_best_only=True)` keeps a soft epoch that is better than
every hard one. Its file predicts what its metric says only while it is soft.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from keras_sbn.layers.base import SelfBinarizingLayer
from keras_sbn.sharpness import HARD

_HARD = "val_hard_"


class SavedNetworks:
    """The last network that was saved in a training."""

    def __init__(self) -> None:
        self._epoch = 0
        self._logs: list[dict[str, float]] = []
        self._saved: tuple[int, float] | None = None

    def look(self, layers: Sequence[SelfBinarizingLayer]) -> None:
        """Asks the layers whether they were saved since they were asked last, in the epoch noted last."""
        found = [layer.saved_sharpness for layer in layers if layer.saved_sharpness is not None]
        for layer in layers:
            layer.saved_sharpness = None
        if found:
            self._saved = (self._epoch, min(found))

    def note(self, epoch: int, logs: dict[str, Any]) -> None:
        """Notes what was measured at the end of an epoch."""
        self._epoch = epoch
        values = {name: float(value) for name, value in logs.items() if name.startswith("val_")}
        self._logs.append({"epoch": epoch, **values})

    def warn_if_soft(self) -> None:
        """Warns if the last network that was saved is soft, and not the best by a hard metric."""
        if self._saved is None or self._saved[1] == HARD:
            return
        epoch, sharpness = self._saved
        logs = next((one for one in self._logs if one["epoch"] == epoch), {})
        hard = [name for name in logs if name.startswith(_HARD)]
        if any(self._is_best(name, logs[name]) for name in hard):
            return
        measured = ""
        if hard:
            name = next((one for one in hard if "acc" in one), hard[0])
            soft = name.replace(_HARD, "val_")
            measured = f", {soft} {logs.get(soft, math.nan):.4g} and {name} {logs[name]:.4g}"
        warnings.warn(
            "A network that was saved in this training was soft, and no later one was saved: that of "
            "epoch "
            f"{epoch + 1} (sharpness {sharpness:.4g}{measured}). Made hard, it predicts otherwise. "
            f"Choose by the "
            "hard network: HardValidation before Sharpen, and "
            "ModelCheckpoint(monitor='val_hard_accuracy', "
            "save_best_only=True).",
            stacklevel=4,
        )

    def _is_best(self, name: str, value: float) -> bool:
        values = [one[name] for one in self._logs if name in one]
        return value == (max(values) if "acc" in name else min(values))
