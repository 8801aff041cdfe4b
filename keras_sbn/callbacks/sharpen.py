"""The callback that sharpens a network while it trains."""

from __future__ import annotations

import json
import math
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.averaging import KernelMean
from keras_sbn.batches import check_can_be_read_twice
from keras_sbn.binarize import (
    SATURATION_TOLERANCE,
    BinarizationReport,
    binarize_layers,
    effective_kernel,
    end_freezing,
    latent_kernels,
    normalizations,
    self_binarizing_layers,
    smallest_sharpness,
    trains,
)
from keras_sbn.callbacks.end_of_fit import at_end_of_fit
from keras_sbn.callbacks.saved_networks import SavedNetworks
from keras_sbn.files import write_atomically
from keras_sbn.layers.base import SelfBinarizingLayer
from keras_sbn.schedules import SharpnessSchedule
from keras_sbn.sharpening import FREEZE_AT, NOT_GIVEN, Schedule, SharpnessPlan, freeze_at_of
from keras_sbn.sharpness import HARD
from keras_sbn.statistics import reestimate_batch_normalization
from keras_sbn.weight_decay import WEIGHT_DECAY, check_weight_decay, decay_kernels

#: With `update_freq="batch"` the sharpness changes at most about this many times in a training.
_STAIRS = 250


class Sharpen(keras.callbacks.Callback):
    """Raises the sharpness of every self-binarizing layer during `model.fit`, and makes it hard after.

    The callback learns the length of training from `fit`, so it needs no numbers. It writes the current
    `sharpness` into the logs of every epoch, where the progress bar, `History`, `CSVLogger` and
    TensorBoard find it (put it before them in the list of callbacks).

    The sharpness depends on the epoch and the batch alone. So a run that is resumed with
    `initial_epoch`, from a checkpoint, or by `keras.callbacks.BackupAndRestore`, has the same
    sharpness as one that was never interrupted; give `fit` the same `epochs`.

    In the last twentieth of training, hard kernels are frozen at the mean of their values over as long a
    time before: they have no gradient any more, while batch normalization is fitted to them. In the
    second half of it the statistics of `BinaryBatchNormalization` are accumulated: they are the mean over
    all batches. Otherwise weights that oscillate round 0 leave statistics of no network in particular
    (`docs/accuracy.md`). Keras's own `BatchNormalization` cannot accumulate; give `data`, and its
    statistics are estimated again.

    Until they are frozen, latent kernels that are divided by their root mean square decay, decoupled from
    the gradient as with AdamW. It changes nothing that the network computes: it keeps kernels from
    growing, and so from turning less and less at the same learning rate.

    Layers with `trainable=False`, alone or as part of a frozen model, stay exactly as they are.

    Callbacks that put other weights into the model when training ends (`EarlyStopping` with
    `restore_best_weights`) may stand before or after this one. Either way the network that they restore
    is made hard, `report` is about it, and a warning says how far from hard it was. A file that another
    callback wrote is not: a warning says so where the last one that was written is soft, and not chosen
    by `HardValidation`. The order of all callbacks is in `docs/schedules.md`.

    Args:
        schedule: A `keras_sbn.schedules.SharpnessSchedule`, or another function from progress in [0, 1]
            to sharpness. Default: `Exponential()`, which ends hard after three quarters of training.
        activation_schedule: Schedule of the activations, where it is not that of the kernels. Its value
            is in the logs as `activation_sharpness`.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        update_freq: How often the sharpness changes: `"batch"`, `"epoch"`, or every that many batches.
            `"batch"` means every batch in trainings of up to 250; in longer ones it takes 250 stairs,
            so that they stay cheap.
        steps_per_epoch: Number of batches in an epoch, where `fit` cannot know it (a generator). Without
            it the sharpness of such a training changes once an epoch.
        freeze_at: Share of training, in (0, 1), after which hard kernels are frozen; `None`: never.
        weight_decay: Decay of the latent kernels: a step with learning rate ``a`` multiplies them by
            ``exp(-a * weight_decay)``. `None` or 0: none, for an optimizer that does it itself. Layers
            with `normalize_kernel=False` or `kernel_scale="mean"` take no part, nor does a model without
            one `optimizer`.
        binarize: Whether to make the network hard when training ends (`keras_sbn.binarize`). If not,
            it keeps the last sharpness of the schedule.
        data: Inputs for the end of training: an array, a list of arrays (one an input), a dictionary of
            them by input name, a tuple `(inputs, targets)` of these, or an iterable of such batches that
            can be read twice, such as a `tf.data.Dataset`. With them the batch-normalization statistics
            are estimated again on the hard network (`keras_sbn.reestimate_batch_normalization`), and a
            warning says how many predictions the step from soft to hard changed, if any.
        state_path: Path of a JSON file for the state, after every epoch, of a schedule that observes
            the training (`Adaptive`), so that another process can resume. The other schedules have no
            state. The mean of the kernels lies beside it, as `.npz`, in the epochs that need it; without
            it a run that is resumed there takes the mean from then on.
        rest_at: Deprecated name of `freeze_at`.

    Attributes:
        sharpness: The sharpness of the kernels at this moment; `None` before training.
        report: The `keras_sbn.BinarizationReport` of the end of training; `None` before, and where the
            training left kernels that are not finite.

    Raises:
        ValueError: If an argument is out of range, or the model has no self-binarizing layer.

    Source: Lahoud et al., arXiv 1902.00730, section 3.1.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> sharpen = keras_sbn.callbacks.Sharpen()
    >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), callbacks=[sharpen], verbose=0)
    >>> keras_sbn.binarize(model).already_binary
    True
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        *,
        activation_schedule: Schedule | None = None,
        layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
        update_freq: str | int = "batch",
        steps_per_epoch: int | None = None,
        freeze_at: float | None = FREEZE_AT,
        weight_decay: float | None = WEIGHT_DECAY,
        binarize: bool = True,
        data: Any = None,
        state_path: str | Path | None = None,
        rest_at: Any = NOT_GIVEN,
    ) -> None:
        super().__init__()
        if update_freq not in ("batch", "epoch") and not _is_positive_integer(update_freq):
            raise ValueError(
                "Expected `update_freq` to be 'batch', 'epoch' or a positive number of batches. "
                f"Received: update_freq={update_freq!r}"
            )
        if steps_per_epoch is not None and not _is_positive_integer(steps_per_epoch):
            raise ValueError(
                "Expected `steps_per_epoch` to be a positive number of batches. "
                f"Received: steps_per_epoch={steps_per_epoch!r}"
            )
        if data is not None and not binarize:
            raise ValueError("Expected `data` only together with binarize=True. Received: binarize=False")
        check_can_be_read_twice(data, "data")
        freeze_at = freeze_at_of(freeze_at, rest_at)
        self.plan = SharpnessPlan(schedule, activation_schedule, layer_schedules, freeze_at)
        self.weight_decay = check_weight_decay(weight_decay)
        self.update_freq = update_freq
        self.binarize = binarize
        self.data = data
        self.steps_per_epoch = steps_per_epoch
        self.state_path = None if state_path is None else Path(state_path)
        self.sharpness: float | None = None
        self.report: BinarizationReport | None = None
        self._layers: list[SelfBinarizingLayer] | None = None
        self._weights: list[tuple[Any, Schedule]] = []
        self._values: list[float] = []
        self._freezing: tuple[bool, ...] | None = None
        self._mean = KernelMean()
        self._logs: dict[str, float] = {}
        self._epoch = 0
        self._at: float | None = None
        self._kernels_due = False
        self._decayed = 0
        self._first_iteration = 0
        self._steps: int | None = None
        self._signs: list[np.ndarray] = []
        self._left: int | None = None
        self._files = SavedNetworks()
        observers = [s for s in self.plan.schedules if isinstance(s, SharpnessSchedule) and s.get_state()]
        self._observers: list[SharpnessSchedule] = observers
        self._states: dict[int, list[dict[str, Any]]] = {0: [s.get_state() for s in observers]}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._steps = self.params.get("steps") or self.steps_per_epoch
        self._layers, self._weights, self._values, self._left = None, [], [], None
        self._mean = KernelMean()
        self._files = SavedNetworks()
        for layer in self_binarizing_layers(self.model):
            layer.saved_sharpness = None
        self._find_layers()
        if self._observers and self.state_path is not None and self.state_path.exists():
            stored = json.loads(self.state_path.read_text())
            self._states.update({int(epoch): states for epoch, states in stored.items()})
        if self.binarize:
            at_end_of_fit(self, self._finish_what_was_restored)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Callbacks behind this one have saved since the end of the epoch before.
        self._files.look(self._layers or [])
        self._epoch = epoch
        self._restore_states(epoch)
        if self._mean_path is not None and not self._mean.count:
            self._mean.load(self._mean_path, epoch)
        if epoch == 0:
            self._first_iteration = self._iterations()
        # What was decayed before is known from the epoch alone, so that a resumed run agrees.
        self._decayed = self._batches_behind(epoch - 1, -1)
        # Always assigned: a restored checkpoint has put other values into the weights.
        self._values, self._freezing, self._at = [], None, None
        self._update_sharpness(0)
        # Kernels wait for the first batch: until then SwapEMAWeights may hold others in the model.
        self._kernels_due = True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.update_freq == "epoch" or self._steps is None:
            if not self._kernels_due and self._layers is not None:
                return
            batch = 0
        before = self._at
        self._update_sharpness(batch)
        if self._kernels_due or self._at != before:
            self._update_kernels(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        logs.update(self._logs)
        self._files.note(epoch, logs)
        self._files.look(self._layers or [])
        for schedule in self._observers:
            schedule.observe((epoch + 1) / self.params["epochs"], logs)
        self._keep_states(epoch + 1)
        if self._mean_path is not None:
            self._mean.save(self._mean_path, epoch + 1)
        if self._averages_in_optimizer():
            self._signs = self._signs_now()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._mean_path is not None:
            self._mean.remove(self._mean_path)
        if not self._find_layers():
            return
        if self.binarize:
            self._files.look(self._layers or [])
            self._files.warn_if_soft()
            self._finish()
        else:
            end_freezing(self._layers or [], normalizations(self.model, trained=True))

    def _finish_what_was_restored(self) -> None:
        """Makes hard what a callback behind this one has put into the model."""
        if self._left is not None and _fingerprint(self.model) != self._left:
            self._finish()

    def _finish(self) -> None:
        """Makes the network hard, whatever it is now, and says what that changed."""
        model, layers = self.model, self._layers or []
        restored = any(
            np.float32(_number(weight)) != np.float32(value)
            for (weight, _), value in zip(self._weights, self._values, strict=bool(self._values))
        )
        softest = min((smallest_sharpness(layer) for layer in layers), default=HARD)
        values, unsaturated = self._unsaturated() if restored else (0, 0)
        if not restored:
            self._warn_if_stopped_early()
        batch_normalizations = normalizations(model, trained=True)
        if not all(np.isfinite(kernel).all() for layer in layers for kernel in latent_kernels(layer)):
            self.report = None
            end_freezing(layers, batch_normalizations)
            warnings.warn(
                "Expected finite kernels at the end of training, to make them hard. Received NaN or "
                "infinite ones: the training diverged, and the model is left as it is. Lower the "
                "learning rate, or restore a checkpoint.",
                stacklevel=2,
            )
            self._left = _fingerprint(model)
            return
        self.report = binarize_layers(model, layers, batch_normalizations, self.data)
        if self.data is not None:
            reestimate_batch_normalization(model, self.data)
        self._values = [HARD for _ in self._values]
        changed = self.report.changed_predictions
        if restored and softest != HARD:
            predictions = "give Sharpen `data` to count the predictions that it changes"
            if changed is not None:
                predictions = f"it changed {100 * changed:.2f} % of the predictions on `data`"
            warnings.warn(
                "Another network was put into the model after its last epoch, as "
                f"EarlyStopping(restore_best_weights=True) does; it was soft (sharpness {softest:.4g}) "
                f"and is hard now: {unsaturated:,} of {values:,} kernel values were not within "
                f"{SATURATION_TOLERANCE} of -1 or +1, and {predictions}. Choose by the hard network: "
                "HardValidation before Sharpen, and monitor='val_hard_accuracy' (or start_from_epoch).\n"
                f"{self.report}",
                stacklevel=2,
            )
        elif changed:
            warnings.warn(
                f"Binarizing changed {100 * changed:.2f} % of the predictions on `data`: the network was "
                f"not yet binary at the end of training (sharpness {softest:.4g}). Compare "
                "accuracies after training, not during it; let the schedule end higher or earlier to "
                f"close the gap.\n{self.report}",
                stacklevel=2,
            )
        self._warn_of_averages()
        self._warn_of_soft_frozen_layers()
        self._left = _fingerprint(model)

    def _unsaturated(self) -> tuple[int, int]:
        """How many kernel values there are, and how many are not within 1e-3 of ±1."""
        kernels = [
            kernel for layer in self._layers or [] if (kernel := effective_kernel(layer)) is not None
        ]
        soft = sum(int(np.count_nonzero(np.abs(k) < 1 - SATURATION_TOLERANCE)) for k in kernels)
        return sum(kernel.size for kernel in kernels), soft

    def _warn_of_averages(self) -> None:
        """Moving averages of the optimizer replace kernels, not the statistics that belong to them."""
        batch_normalizations = any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in self.model._flatten_layers()
        ) or normalizations(self.model)
        if not self._averages_in_optimizer() or self.data is not None or not batch_normalizations:
            return
        now = self._signs_now()
        changed = sum(int(np.count_nonzero(a != b)) for a, b in zip(now, self._signs, strict=False))
        total = sum(signs.size for signs in now)
        warnings.warn(
            "The optimizer has put its moving averages (use_ema=True) into the kernels: "
            f"{changed:,} of {total:,} signs are not those after the last epoch, and batch-normalization "
            "statistics belong to the kernels of the training. Give Sharpen `data`, and they are "
            "estimated again; or leave use_ema off: Sharpen averages kernels itself.",
            stacklevel=2,
        )

    def _warn_of_soft_frozen_layers(self) -> None:
        soft = [
            layer.name
            for layer in self_binarizing_layers(self.model)
            if not trains(self.model, layer) and not layer.is_hard
        ]
        if soft:
            warnings.warn(
                f"Layers {soft} have trainable=False and are soft: they stay as they are, and the "
                "network is not binary yet. keras_sbn.binarize(model) makes them hard as well.",
                stacklevel=2,
            )

    def _averages_in_optimizer(self) -> bool:
        return bool(getattr(getattr(self.model, "optimizer", None), "use_ema", False))

    def _signs_now(self) -> list[np.ndarray]:
        return [kernel >= 0 for layer in self._layers or [] for kernel in latent_kernels(layer)]

    def _progress(self, batch: int) -> float:
        epochs = self.params["epochs"]
        if self._steps is None:
            return min(self._epoch / epochs, 1.0)
        return min(self._batches_behind(self._epoch, batch) / (epochs * self._steps), 1.0)

    def _batches_behind(self, epoch: int, batch: int) -> int:
        """How many batches lay behind when the sharpness changed last; batch -1 is an epoch's last."""
        if epoch < 0:
            return 0
        if self._steps is None:
            # The length of an epoch is unknown, but not that of all together.
            return epoch * ((self._iterations() - self._first_iteration) // max(self._epoch, 1))
        if batch < 0:
            batch += self._steps
        behind = epoch * self._steps + batch
        # Stairs run through the training; a number of batches that was asked for starts anew every epoch.
        every = self._every(self.params["epochs"] * self._steps)
        return behind - (behind if self.update_freq == "batch" else batch) % every

    def _iterations(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(ops.convert_to_numpy(optimizer.iterations))

    def _every(self, total: int) -> int:
        """How many batches pass between changes of the sharpness, of `total` in the training."""
        if self.update_freq == "batch":
            return math.ceil(total / _STAIRS)
        return self._steps or 1 if self.update_freq == "epoch" else int(self.update_freq)

    def _until_next_update(self) -> float:
        """The share of training that passes until the sharpness may change again."""
        epochs = self.params["epochs"]
        if self._steps is None:
            return 1 / epochs
        return self._every(epochs * self._steps) / (epochs * self._steps)

    def _update_sharpness(self, batch: int) -> None:
        progress = self._progress(batch)
        if progress == self._at or not self._find_layers():
            return
        self._at = progress
        layers, until = self._layers or [], self._until_next_update()
        values = [float(schedule(progress)) for _, schedule in self._weights]
        freezing = self.plan.freezing(layers, progress, until)
        if values == self._values and freezing == self._freezing:
            return
        # Under JAX the trainer holds the variables in an epoch; reading `self.model` brings them back.
        model = self.model
        for (weight, _), value in zip(self._weights, values, strict=True):
            weight.assign(value)
        if freezing != self._freezing:
            self.plan.set_freezing(model, layers, progress, until)
        self._values, self._freezing = values, freezing
        self.sharpness = float(self.plan.kernel(progress))
        self._logs = {"sharpness": self.sharpness}
        if self.plan.has_separate_activations:
            self._logs["activation_sharpness"] = float(self.plan.activation(progress))

    def _update_kernels(self, batch: int) -> None:
        if self._layers is None:
            return
        self._kernels_due = False
        # Under JAX, `_decay` brings the kernels back from the trainer: it reads `self.model`.
        progress, until = self._progress(batch), self._until_next_update()
        self._decay(progress, until, self._batches_behind(self._epoch, batch))
        self._average_until_frozen(progress, until)

    def _decay(self, progress: float, until: float, behind: int) -> None:
        steps, self._decayed = behind - self._decayed, behind
        optimizer = getattr(self.model, "optimizer", None)
        if self.weight_decay and steps > 0 and optimizer is not None:
            kernels = self.plan.decaying_kernels(self._layers or [], progress, until)
            decay_kernels(kernels, optimizer, self.weight_decay, steps)

    def _average_until_frozen(self, progress: float, until: float) -> None:
        averages = self.plan.averages(progress, until)
        if averages or (self._mean.count and self.plan.freezes(progress, until)):
            kernels = self.plan.kernels_to_freeze(self._layers or [])
            if averages:
                self._mean.add(kernels)
            else:
                self._mean.assign(kernels)

    @property
    def _mean_path(self) -> Path | None:
        return None if self.state_path is None else self.state_path.with_suffix(".npz")

    def _find_layers(self) -> bool:
        """Looks up the layers and their sharpness weights, once the model has them.

        TensorFlow's `fit` builds a model without known input shape in its first batch, which is then
        trained with the sharpness that new weights have, 1.
        """
        if self._layers is None and all(layer.built for layer in self_binarizing_layers(self.model)):
            self._layers = self.plan.layers(self.model)
            self._weights = self.plan.weights(self._layers)
        return self._layers is not None

    def _restore_states(self, epoch: int) -> None:
        if not self._observers:
            return
        if epoch not in self._states:
            warnings.warn(
                f"Expected the state of the schedule at the start of epoch {epoch}, to resume as if "
                "never interrupted. Received none: the schedule goes on from its present state. Give "
                "Sharpen a `state_path` in both runs.",
                stacklevel=2,
            )
            return
        for schedule, state in zip(self._observers, self._states[epoch], strict=True):
            schedule.set_state(state)

    def _keep_states(self, epoch: int) -> None:
        if not self._observers:
            return
        self._states[epoch] = [schedule.get_state() for schedule in self._observers]
        if self.state_path is not None:
            states = {k: v for k, v in self._states.items() if k <= epoch}
            write_atomically(self.state_path, json.dumps(states).encode())

    def _warn_if_stopped_early(self) -> None:
        final = [schedule(1.0) for _, schedule in self._weights]
        stopped = getattr(self.model, "stop_training", False)
        if stopped and any(
            now < end / 2 for now, end in zip(self._values, final, strict=bool(self._values))
        ):
            warnings.warn(
                f"Training stopped in epoch {self._epoch + 1} of {self.params['epochs']} at sharpness "
                f"{self.sharpness:.4g}, before the schedule's {self.plan.kernel(1.0):.4g}: the hard "
                "network may predict otherwise than the soft one did. Stop later "
                "(`start_from_epoch`), or let the schedule end earlier (`end_at`).",
                stacklevel=3,
            )


def _number(weight: Any) -> float:
    return float(ops.convert_to_numpy(weight))


def _fingerprint(model: Any) -> int:
    """A checksum of all weights."""
    found = 0
    for weight in model.weights:
        found = zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes(), found)
    return found


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
