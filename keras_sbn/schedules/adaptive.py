"""The schedule that depends on the losses of the training."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.schedules.base import Rise


@keras.saving.register_keras_serializable(package="keras_sbn")
class Adaptive(Rise):
    """Rises while the loss keeps up, and waits while it does not.

    After every epoch the schedule looks at the logs. It rises on when the loss has recovered, that is,
    is within `loss_tolerance` of the best so far, and when the gap between the hard and the soft
    network has not grown; otherwise it holds its value for the next epoch. The gap is
    `val_hard_loss - val_loss`, so it needs `keras_sbn.callbacks.HardValidation` before `Sharpen` in the
    list of callbacks and `validation_data` in `fit`; without them only the loss counts.

    The rise is by equal factors and `eagerness` times as fast as needed to reach `end` at `end_at`, so
    that there is time to wait. It reaches `end` in any case: after `patience` epochs of waiting in a row
    it compares with the present loss instead of the best one, and in the last epoch before `end_at` it
    rises to `end`.

    Args:
        start: Sharpness at the beginning, greater than 0.
        end: Sharpness at the end, greater than 0 and finite.
        begin_at: Fraction of training at which the rise begins, in [0, 1).
        end_at: Fraction of training at which `end` is reached at the latest, in (begin_at, 1].
        hard: Whether the sharpness is infinite from `end_at` on, so that the rest of training is that of
            the finished network.
        loss_tolerance: Share of the best loss by which the loss may be above it, not negative.
        gap_tolerance: Share of the validation loss by which the gap may grow in an epoch, not negative.
        eagerness: Factor of the speed of the rise, at least 1. With 2 there is time to wait in half of
            the epochs. With 1 there is none: after the first wait the rise is steeper, to end in time.
        patience: Largest number of epochs to wait in a row, a positive integer.

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> schedule = keras_sbn.schedules.Adaptive(1.0, 100.0, end_at=1.0, eagerness=1.0)
    >>> schedule.observe(0.25, {"loss": 1.0})  # the first epoch: rises
    >>> before = schedule(0.5)
    >>> schedule.observe(0.5, {"loss": 2.0})  # the loss is worse: holds
    >>> schedule(0.75) == before
    True
    """

    def __init__(
        self,
        start: float = 1.0,
        end: float = 1e7,
        begin_at: float = 0.0,
        end_at: float = 0.75,
        hard: bool = True,
        loss_tolerance: float = 0.05,
        gap_tolerance: float = 0.1,
        eagerness: float = 2.0,
        patience: int = 3,
    ) -> None:
        super().__init__(start, end, begin_at, end_at, hard)
        for name, value in (("loss_tolerance", loss_tolerance), ("gap_tolerance", gap_tolerance)):
            if not value >= 0:
                raise ValueError(f"Expected `{name}` not to be negative. Received: {name}={value}")
        if not eagerness >= 1:
            raise ValueError(f"Expected `eagerness` to be at least 1. Received: eagerness={eagerness}")
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(
                f"Expected `patience` to be a positive number of epochs. Received: patience={patience}"
            )
        self.loss_tolerance = float(loss_tolerance)
        self.gap_tolerance = float(gap_tolerance)
        self.eagerness = float(eagerness)
        self.patience = patience
        # The rise so far and its speed since the last observation: a straight line in the logarithm.
        self._share = 0.0
        self._since = self.begin_at
        self._observed = 0.0
        self._speed = self._speed_to_arrive(self.eagerness)
        self._best_loss: float | None = None
        self._gap: float | None = None
        self._waited = 0

    def value(self, progress: float) -> float:
        return self.between(self._share_at(progress))

    def observe(self, progress: float, logs: dict[str, Any]) -> None:
        next_observed = progress + (progress - self._observed)
        self._share = self._share_at(progress)
        self._since = max(progress, self.begin_at)
        self._observed = progress
        if next_observed > self.end_at - 1e-9:  # no epoch ends between this one and `end_at`
            self._speed = self._speed_to_arrive(1.0)
        elif self._keeps_up(logs):
            self._speed = self._speed_to_arrive(self.eagerness)
            self._waited = 0
        elif self._waited + 1 < self.patience:
            self._speed = 0.0
            self._waited += 1
        else:
            self._speed = self._speed_to_arrive(self.eagerness)
            self._waited = 0
            self._best_loss = float(logs["loss"]) if "loss" in logs else None

    def get_state(self) -> dict[str, Any]:
        return {
            "share": self._share,
            "since": self._since,
            "observed": self._observed,
            "speed": self._speed,
            "best_loss": self._best_loss,
            "gap": self._gap,
            "waited": self._waited,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._share = state["share"]
        self._since = state["since"]
        self._observed = state["observed"]
        self._speed = state["speed"]
        self._best_loss = state["best_loss"]
        self._gap = state["gap"]
        self._waited = state["waited"]

    def _share_at(self, progress: float) -> float:
        if progress >= self.end_at:
            return 1.0
        return min(self._share + self._speed * max(progress - self._since, 0.0), 1.0)

    def _speed_to_arrive(self, eagerness: float) -> float:
        left = self.end_at - self._since
        return eagerness * (1 - self._share) / left if left > 0 else 0.0

    def _keeps_up(self, logs: dict[str, Any]) -> bool:
        loss = logs.get("loss")
        recovered = True
        if loss is not None:
            best = self._best_loss
            recovered = best is None or loss <= best + self.loss_tolerance * abs(best)
            self._best_loss = float(loss if best is None else min(best, loss))
        grew = False
        if "val_hard_loss" in logs and "val_loss" in logs:
            gap = float(logs["val_hard_loss"] - logs["val_loss"])
            tolerance = self.gap_tolerance * abs(logs["val_loss"])
            grew = self._gap is not None and gap > self._gap + tolerance
            self._gap = gap
        return recovered and not grew

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "loss_tolerance": self.loss_tolerance,
            "gap_tolerance": self.gap_tolerance,
            "eagerness": self.eagerness,
            "patience": self.patience,
        }
