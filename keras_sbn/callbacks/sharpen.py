"""The callback that sharpens a network while it trains."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_sbn.averaging import KernelMean
from keras_sbn.batches import check_can_be_read_twice
from keras_sbn.binarize import BinarizationReport, binarize, self_binarizing_layers
from keras_sbn.schedules import SharpnessSchedule
from keras_sbn.sharpening import REST_AT, Schedule, SharpnessPlan, SteppedSchedule, normalizations
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

    In the last twentieth of training, kernels that are hard rest, at the mean of their values over as
    long a time before: they have no gradient any more, while batch normalization is fitted to them. In
    the second half of it the statistics of `BinaryBatchNormalization` are the mean over all batches.
    Without it, weights that oscillate round 0 leave statistics of no network in particular
    (`docs/accuracy.md`). Keras's own `BatchNormalization` cannot settle; give `data`, and its
    statistics are estimated again.

    Until they rest, latent kernels that are divided by their root mean square decay, decoupled from the
    gradient as with AdamW. It changes nothing that the network computes: it keeps kernels from growing,
    and so from turning less and less at the same learning rate.

    Args:
        schedule: A `keras_sbn.schedules.SharpnessSchedule`, or another function from progress in [0, 1]
            to sharpness. Default: `Exponential()`, which ends hard after three quarters of training.
        update_freq: How often the sharpness changes: `"batch"`, `"epoch"`, or every that many batches.
            `"batch"` means every batch in trainings of up to 250; in longer ones it takes 250 stairs,
            so that they stay cheap.
        binarize: Whether to make the network hard when training ends (`keras_sbn.binarize`). If not,
            it keeps the last sharpness of the schedule.
        activation_schedule: Schedule of the activations, where it is not that of the kernels. Its value
            is in the logs as `activation_sharpness`.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        data: Inputs for the end of training: an array, a list or dictionary of arrays, a tuple
            `(inputs, targets)`, or an iterable of batches, such as a `tf.data.Dataset`. With them the
            batch-normalization statistics are estimated again on the hard network
            (`keras_sbn.reestimate_batch_normalization`), and a warning says how many predictions the
            step from soft to hard changed, if any.
        steps_per_epoch: Number of batches in an epoch, where `fit` cannot know it (a generator). Without
            it the sharpness of such a training changes once an epoch.
        rest_at: Share of training after which hard kernels rest; `None`: never.
        state_path: Path of a JSON file for what a schedule that observes (`Adaptive`) has learned after
            every epoch, so that another process can resume. The other schedules have nothing to keep. The
            mean of the kernels lies beside it, as `.npz`, in the epochs that need it; without it a run
            that is resumed there takes the mean from then on.
        weight_decay: Decay of the latent kernels: a step with learning rate ``a`` multiplies them by
            ``exp(-a * weight_decay)``. `None` or 0: none, for an optimizer that does it itself. Layers
            with `normalize_kernel=False` or `kernel_scale="mean"` take no part, nor does a model without
            one `optimizer`.

    Attributes:
        sharpness: The sharpness of the kernels at this moment; `None` before training.
        report: The `keras_sbn.BinarizationReport` of the end of training; `None` before.

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
        update_freq: str | int = "batch",
        binarize: bool = True,
        activation_schedule: Schedule | None = None,
        layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
        data: Any = None,
        steps_per_epoch: int | None = None,
        state_path: str | Path | None = None,
        rest_at: float | None = REST_AT,
        weight_decay: float | None = WEIGHT_DECAY,
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
        self.plan = SharpnessPlan(schedule, activation_schedule, layer_schedules, rest_at)
        self.weight_decay = check_weight_decay(weight_decay)
        self.update_freq = update_freq
        self.binarize = binarize
        self.data = data
        self.steps_per_epoch = steps_per_epoch
        self.state_path = None if state_path is None else Path(state_path)
        self.sharpness: float | None = None
        self.report: BinarizationReport | None = None
        self._weights: list[tuple[Any, SteppedSchedule]] = []
        self._values: list[float] = []
        self._settles: bool | None = None
        self._mean = KernelMean()
        self._logs: dict[str, float] = {}
        self._epoch = 0
        self._at = 0.0
        self._decayed = 0
        self._first_iteration = 0
        self._steps: int | None = None
        observers = [s for s in self.plan.schedules if isinstance(s, SharpnessSchedule) and s.get_state()]
        self._observers: list[SharpnessSchedule] = observers
        self._states: dict[int, list[dict[str, Any]]] = {0: [s.get_state() for s in observers]}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._steps = self.params.get("steps") or self.steps_per_epoch
        self._weights = []
        self._mean = KernelMean()
        self._find_weights()
        if self._observers and self.state_path is not None and self.state_path.exists():
            stored = json.loads(self.state_path.read_text())
            self._states.update({int(epoch): states for epoch, states in stored.items()})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._restore_states(epoch)
        if self._mean_path is not None and not self._mean.count:
            self._mean.load(self._mean_path, epoch)
        if epoch == 0:
            self._first_iteration = self._iterations()
        # What was decayed before is known from the epoch alone, so that a resumed run agrees.
        self._decayed = self._batches_behind(epoch - 1, -1)
        # Always assigned: a restored checkpoint has put other values into the weights.
        self._values, self._settles = [], None
        self._update(0)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._weights:
            self._update(0)
        if self.update_freq != "epoch" and self._steps is not None:
            self._update(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        logs.update(self._logs)
        for schedule in self._observers:
            schedule.observe((epoch + 1) / self.params["epochs"], logs)
        self._keep_states(epoch + 1)
        if self._mean_path is not None:
            self._mean.save(self._mean_path, epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        # Whoever trains on finds a network that learns.
        if self._values:
            for (weight, _), value in zip(self._weights, self._values, strict=True):
                weight.assign(abs(value))
        for layer in normalizations(self.model):
            layer.settle(False)
        if not self.binarize:
            return
        self._warn_if_stopped_early()
        self.report = binarize(self.model, self.data)
        if self.data is not None:
            reestimate_batch_normalization(self.model, self.data)
        changed = self.report.changed_predictions
        if changed:
            warnings.warn(
                f"Binarizing changed {100 * changed:.2f} % of the predictions on `data`: the network was "
                f"not yet binary at the end of training (sharpness {self.sharpness:.4g}). Compare "
                "accuracies after training, not during it; let the schedule end higher or earlier to "
                f"close the gap.\n{self.report}",
                stacklevel=2,
            )

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

    def _update(self, batch: int) -> None:
        progress = self._progress(batch)
        if self._values and progress == self._at:
            return
        if not self._weights and not self._find_weights():
            return
        self._at = progress
        until = self._until_next_update()
        values = [float(schedule(progress, until)) for _, schedule in self._weights]
        self._decay(progress, until, self._batches_behind(self._epoch, batch))
        self._average_until_rest(progress, until)
        settles = self.plan.settles(progress, until)
        if values == self._values and settles == self._settles:
            return
        self._values, self._settles = values, settles
        # Under JAX the trainer holds the weights during an epoch; reading `self.model` brings them back.
        model = self.model
        for (weight, _), value in zip(self._weights, values, strict=True):
            weight.assign(value)
        for layer in normalizations(model):
            layer.settle(settles)
        self.sharpness = float(self.plan.kernel(progress))
        self._logs = {"sharpness": self.sharpness}
        if self.plan.has_separate_activations:
            self._logs["activation_sharpness"] = float(self.plan.activation(progress))

    def _decay(self, progress: float, until: float, behind: int) -> None:
        steps, self._decayed = behind - self._decayed, behind
        optimizer = getattr(self.model, "optimizer", None)
        if self.weight_decay and steps > 0 and optimizer is not None:
            kernels = self.plan.decaying_kernels(self.model, progress, until)
            decay_kernels(kernels, optimizer, self.weight_decay, steps)

    def _average_until_rest(self, progress: float, until: float) -> None:
        averages = self.plan.averages(progress, until)
        if averages or (self._mean.count and self.plan.rests(progress, until)):
            kernels = self.plan.resting_kernels(self.model)
            if averages:
                self._mean.add(kernels)
            else:
                self._mean.assign(kernels)

    @property
    def _mean_path(self) -> Path | None:
        return None if self.state_path is None else self.state_path.with_suffix(".npz")

    def _find_weights(self) -> bool:
        """Looks up the sharpness weights, once the model has them.

        TensorFlow's `fit` builds a model without known input shape in its first batch, which is then
        trained with the sharpness that new weights have, 1.
        """
        if all(layer.built for layer in self_binarizing_layers(self.model)):
            self._weights = self.plan.weights(self.model)
        return bool(self._weights)

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
            # Renamed into place, so that a killed process leaves the old file or the new one, not half.
            written = self.state_path.with_name(self.state_path.name + ".new")
            written.write_text(json.dumps({k: v for k, v in self._states.items() if k <= epoch}))
            written.replace(self.state_path)

    def _warn_if_stopped_early(self) -> None:
        final = [abs(schedule(1.0, 0.0)) for _, schedule in self._weights]
        if self.model.stop_training and any(
            abs(now) < end / 2 for now, end in zip(self._values, final, strict=True)
        ):
            warnings.warn(
                f"Training stopped in epoch {self._epoch + 1} of {self.params['epochs']} at sharpness "
                f"{self.sharpness:.4g}, before the schedule's {self.plan.kernel(1.0):.4g}: the hard "
                "network may predict otherwise than the soft one did. Stop later "
                "(`start_from_epoch`), or let the schedule end earlier (`end_at`).",
                stacklevel=3,
            )


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
