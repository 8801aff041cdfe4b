"""Which sharpness every layer has at a point of training: the plan that Sharpen and sharpen follow.

A network goes through three stages. First its sharpness rises. Then it is hard, and learns through the
bounded gradient. At the end its kernels are frozen, and the rest of the network is fitted to them.

Why they are frozen: the gradient of a hard kernel is not that of what it computes, so a weight near 0 may
be pushed up while it is -1 and down while it is +1. Such weights change sign at every other step, at any
learning rate. The moving averages of batch normalization then belong to a mixture of networks none of
which is the last one (Nagel et al., Overcoming Oscillations in Quantization-Aware Training, arXiv
2203.11086, section 2.3): on MNIST the finished network lost 1 to 7 points by it, and as much of its
reproducibility. Once the kernels are frozen, statistics, scales and offsets are those of one network. The
momentum of the optimizer moves a frozen kernel a few steps more; so the statistics are accumulated, that
is they are the mean over all batches, from the middle of this stage on. The callback freezes the kernels
at the mean of their values over as long a time before (`keras_sbn.averaging`).

Layers with `trainable=False` take no part: their sharpness, kernels and statistics stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from keras_sbn.binarize import (
    built_self_binarizing_layers,
    latent_kernel_weights,
    normalizations,
    trains,
)
from keras_sbn.layers.base import SelfBinarizingKernelLayer, SelfBinarizingLayer
from keras_sbn.schedules import Exponential
from keras_sbn.sharpness import HARD

#: A `keras_sbn.schedules.SharpnessSchedule`, or any function from progress to sharpness.
Schedule = Callable[[float], float]

#: The rounding of fractions of a training.
_ROUNDING = 1e-9

#: From this share of training on kernels are frozen. A cosine decay has the learning rate at 0.6 % then.
FREEZE_AT = 0.95

#: The value of a deprecated argument that was not given.
NOT_GIVEN: Any = object()


class SharpnessPlan:
    """The schedule of every sharpness weight of a model.

    Args:
        schedule: Schedule of the kernels, and of the activations unless they have their own. Default:
            `Exponential()`.
        activation_schedule: Schedule of the activations.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        freeze_at: Share of training after which kernels that are hard are frozen; `None`: never.

    Raises:
        ValueError: If something given is not callable, or `freeze_at` is not in (0, 1).
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        activation_schedule: Schedule | None = None,
        layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
        freeze_at: float | None = FREEZE_AT,
    ) -> None:
        if freeze_at is not None and not 0 < freeze_at < 1:
            raise ValueError(
                f"Expected `freeze_at` to be in (0, 1), or None. Received: freeze_at={freeze_at!r}"
            )
        self.freeze_at = freeze_at
        self.kernel: Schedule = Exponential() if schedule is None else schedule
        self.activation = self.kernel if activation_schedule is None else activation_schedule
        self.by_layer: dict[str, tuple[Schedule, Schedule]] = {}
        _check_schedule("schedule", self.kernel)
        _check_schedule("activation_schedule", self.activation)
        for name, given in (layer_schedules or {}).items():
            pair = given if isinstance(given, tuple) else (given, given)
            if len(pair) != 2:
                raise ValueError(
                    "Expected every value of `layer_schedules` to be a schedule, or a pair of them for "
                    f"kernel and activation. Received: layer_schedules[{name!r}]={given!r}"
                )
            for one in pair:
                _check_schedule(f"layer_schedules[{name!r}]", one)
            self.by_layer[name] = pair

    @property
    def schedules(self) -> list[Schedule]:
        """Every schedule once, in an order that does not change."""
        pairs = [(self.kernel, self.activation), *self.by_layer.values()]
        unique = {id(schedule): schedule for pair in pairs for schedule in pair}
        return list(unique.values())

    @property
    def has_separate_activations(self) -> bool:
        return self.activation is not self.kernel

    def layers(self, model: Any) -> list[SelfBinarizingLayer]:
        """Returns the self-binarizing layers of `model` that are sharpened: those that are trained.

        Raises:
            ValueError: If the model is not built, has no self-binarizing layer, or none of a name in
                `layer_schedules`, or only one that is not trained.
        """
        layers = built_self_binarizing_layers(model)
        names = {layer.name for layer in layers}
        unknown = sorted(set(self.by_layer) - names)
        if unknown:
            raise ValueError(
                f"Expected `layer_schedules` to name self-binarizing layers of {model.name!r}: "
                f"{sorted(names)}. Received: {unknown}"
            )
        trained = [layer for layer in layers if trains(model, layer)]
        frozen = sorted(set(self.by_layer) - {layer.name for layer in trained})
        if frozen:
            raise ValueError(
                "Expected `layer_schedules` to name layers that are trained: layers with trainable=False "
                f"keep their sharpness. Received: {frozen}"
            )
        return trained

    def weights(self, layers: list[SelfBinarizingLayer]) -> list[tuple[Any, Schedule]]:
        """Returns the sharpness weights of these layers, each with its schedule."""
        found = []
        for layer in layers:
            kernel, activation = self._schedules_of(layer)
            if layer.kernel_sharpness is not None:
                found.append((layer.kernel_sharpness, kernel))
            if layer.activation_sharpness is not None:
                found.append((layer.activation_sharpness, activation))
        return found

    def set_freezing(
        self, model: Any, layers: list[SelfBinarizingLayer], progress: float, until: float = 0.0
    ) -> None:
        """Freezes the kernels of these layers that are to be, and accumulates statistics or not."""
        for layer in layers:
            if isinstance(layer, SelfBinarizingKernelLayer):
                layer.freeze_kernel(self._freezes(self._schedules_of(layer)[0], progress, until))
        for normalization in normalizations(model, trained=True):
            normalization.accumulate_statistics(self.accumulates(progress, until))

    def freezing(
        self, layers: list[SelfBinarizingLayer], progress: float, until: float = 0.0
    ) -> tuple[bool, ...]:
        """Which kernels of these layers are to be frozen, and whether statistics are accumulated."""
        kernels = (self._freezes(self._schedules_of(layer)[0], progress, until) for layer in layers)
        return (*kernels, self.accumulates(progress, until))

    def kernels_to_freeze(self, layers: list[SelfBinarizingLayer]) -> list[Any]:
        """Returns the latent kernels of these layers that will be frozen."""
        if self.freeze_at is None:
            return []
        return [
            weight
            for layer in layers
            if self._schedules_of(layer)[0](1.0) == HARD
            for weight in latent_kernel_weights(layer)
        ]

    def decaying_kernels(
        self, layers: list[SelfBinarizingLayer], progress: float, until: float = 0.0
    ) -> list[Any]:
        """Returns the latent kernels whose length has no effect and that are not frozen."""
        return [
            weight
            for layer in layers
            if isinstance(layer, SelfBinarizingKernelLayer) and layer.ignores_kernel_length
            if not self._freezes(self._schedules_of(layer)[0], progress, until)
            for weight in latent_kernel_weights(layer)
            if weight.trainable
        ]

    def averages(self, progress: float, until: float = 0.0) -> bool:
        """Whether kernels are to be averaged: before they are frozen, as long as they are frozen."""
        if self.freeze_at is None or self.freezes(progress, until):
            return False
        return progress >= 2 * self.freeze_at - 1 and self.kernel(progress) == HARD

    def freezes(self, progress: float, until: float = 0.0) -> bool:
        """Whether kernels are to be frozen.

        Args:
            progress: Share of training that lies behind.
            until: How much of training passes until this is asked again. Where that is long, they are
                frozen from the nearest moment on.
        """
        return self._freezes(self.kernel, progress, until)

    def accumulates(self, progress: float, until: float = 0.0) -> bool:
        """Whether statistics are to be accumulated: in the second half of the time of frozen kernels.

        Args:
            progress: Share of training that lies behind.
            until: How much of training passes until this is asked again; the statistics are accumulated
                early rather than not at all.
        """
        if self.freeze_at is None or not self.freezes(progress, until):
            return False
        return progress + until > (1 + self.freeze_at) / 2 + _ROUNDING

    def _schedules_of(self, layer: Any) -> tuple[Schedule, Schedule]:
        return self.by_layer.get(layer.name, (self.kernel, self.activation))

    def _freezes(self, schedule: Schedule, progress: float, until: float) -> bool:
        if self.freeze_at is None or schedule(progress) != HARD:
            return False
        return progress + until / 2 >= self.freeze_at - _ROUNDING


def sharpen(
    model: Any,
    progress: float,
    schedule: Schedule | None = None,
    activation_schedule: Schedule | None = None,
    layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
    freeze_at: float | None = FREEZE_AT,
    *,
    rest_at: Any = NOT_GIVEN,
) -> None:
    """Sets the sharpness of `model` to what it is at `progress` of training.

    For training loops of one's own; with `model.fit`, use `keras_sbn.callbacks.Sharpen`. Call it before
    a step, as often as the sharpness shall change, and `keras_sbn.binarize` at the end. A step compiled
    with `tf.function` or `jax.jit` sees the new value, as long as it reads the layers' variables (with
    JAX: as long as `model.non_trainable_variables` are passed to it, as `stateless_call` does). In the
    last twentieth, kernels that are hard are frozen where they are, and the statistics of
    `BinaryBatchNormalization` are accumulated. Layers with `trainable=False` stay as they are. Weight
    decay is left to the optimizer of the loop.

    Args:
        model: A built Keras model with self-binarizing layers; changed in place.
        progress: Share of training that lies behind, in [0, 1].
        schedule: A `keras_sbn.schedules.SharpnessSchedule`. Default: `Exponential()`.
        activation_schedule: Schedule of the activations, where it is another one.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        freeze_at: Share of training, in (0, 1), after which hard kernels are frozen; `None`: never. See
            `keras_sbn.callbacks.Sharpen`.
        rest_at: Deprecated name of `freeze_at`.

    Raises:
        ValueError: If `progress` is not in [0, 1], an argument is out of range, or the model is not built
            or has no such layer.

    Source: Lahoud et al., arXiv 1902.00730, section 3.1.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> for step in range(10):
    ...     keras_sbn.sharpen(model, step / 10)
    ...     logs = model.train_on_batch(np.ones((8, 4)), np.ones((8, 2)))
    >>> report = keras_sbn.binarize(model)
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"Expected `progress` to be in [0, 1]. Received: progress={progress}")
    freeze_at = freeze_at_of(freeze_at, rest_at)
    plan = SharpnessPlan(schedule, activation_schedule, layer_schedules, freeze_at)
    layers = plan.layers(model)
    for weight, its_schedule in plan.weights(layers):
        weight.assign(its_schedule(progress))
    plan.set_freezing(model, layers, progress)


def freeze_at_of(freeze_at: float | None, rest_at: Any) -> float | None:
    """Returns `freeze_at`, or what was given under its name of version 0.1, with a warning."""
    if rest_at is NOT_GIVEN:
        return freeze_at
    warnings.warn(
        "`rest_at` is `freeze_at` now; the old name goes in the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    return None if rest_at is None else float(rest_at)


def _check_schedule(name: str, schedule: Any) -> None:
    if not callable(schedule):
        raise ValueError(
            f"Expected `{name}` to be a keras_sbn.schedules schedule, or another function of progress in "
            f"[0, 1]. Received: {name}={schedule!r}"
        )
