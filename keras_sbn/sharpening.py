"""Which sharpness every layer has at a point of training: the plan that Sharpen and sharpen follow.

A network goes through three stages. First its sharpness rises. Then it is hard, and learns through the
bounded gradient. At the end its kernels rest, and what remains is fitted to them.

Why they rest: the gradient of a hard kernel is not that of what it computes, so a weight near 0 may be
pushed up while it is -1 and down while it is +1. Such weights change sign at every other step, at any
learning rate. The moving averages of batch normalization then belong to a mixture of networks none of
which is the last one (Nagel et al., Overcoming Oscillations in Quantization-Aware Training, arXiv
2203.11086, section 2.3): on MNIST the finished network lost 1 to 7 points by it, and as much of its
reproducibility. Once the kernels rest, statistics, scales and offsets are those of one network. What
the optimizer remembers moves a resting kernel a few steps more; so the statistics begin to settle, that
is to be the mean over all batches, in the middle of the rest. The callback lets the kernels rest at the
mean of their values over as long a time before (`keras_sbn.averaging`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras_sbn.binarize import built_self_binarizing_layers, latent_kernel_weights
from keras_sbn.layers import BinaryBatchNormalization
from keras_sbn.layers.base import SelfBinarizingKernelLayer
from keras_sbn.schedules import Exponential
from keras_sbn.sharpness import AT_REST, HARD

#: A `keras_sbn.schedules.SharpnessSchedule`, or any function from progress to sharpness.
Schedule = Callable[[float], float]

#: A schedule that is also told how much of training passes until it is asked again.
SteppedSchedule = Callable[[float, float], float]

#: The rounding of fractions of a training.
_ROUNDING = 1e-9

#: From this share of training on kernels rest. A cosine decay has the learning rate at 0.6 % then.
REST_AT = 0.95


class SharpnessPlan:
    """The schedule of every sharpness weight of a model.

    Args:
        schedule: Schedule of the kernels, and of the activations unless they have their own. Default:
            `Exponential()`.
        activation_schedule: Schedule of the activations.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        rest_at: Share of training after which kernels that are hard rest; `None`: never.

    Raises:
        ValueError: If something given is not callable, or `rest_at` is not in (0, 1).
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        activation_schedule: Schedule | None = None,
        layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
        rest_at: float | None = REST_AT,
    ) -> None:
        if rest_at is not None and not 0 < rest_at < 1:
            raise ValueError(
                f"Expected `rest_at` to be in (0, 1), or None. Received: rest_at={rest_at!r}"
            )
        self.rest_at = rest_at
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

    def weights(self, model: Any) -> list[tuple[Any, SteppedSchedule]]:
        """Returns the sharpness weights of `model`, each with its schedule, rest included.

        Raises:
            ValueError: If the model is not built, has no self-binarizing layer, or none of a name in
                `layer_schedules`.
        """
        layers = built_self_binarizing_layers(model)
        names = {layer.name for layer in layers}
        unknown = sorted(set(self.by_layer) - names)
        if unknown:
            raise ValueError(
                f"Expected `layer_schedules` to name self-binarizing layers of {model.name!r}: "
                f"{sorted(names)}. Received: {unknown}"
            )
        found = []
        for layer in layers:
            kernel, activation = self.by_layer.get(layer.name, (self.kernel, self.activation))
            if layer.kernel_sharpness is not None:
                found.append((layer.kernel_sharpness, self._with_rest(kernel)))
            if layer.activation_sharpness is not None:
                found.append((layer.activation_sharpness, _stepped(activation)))
        return found

    def resting_kernels(self, model: Any) -> list[Any]:
        """Returns the latent kernels of `model` that will rest."""
        if self.rest_at is None:
            return []
        return [
            weight
            for layer in built_self_binarizing_layers(model)
            if self._kernel_schedule(layer)(1.0) == HARD
            for weight in latent_kernel_weights(layer)
        ]

    def decaying_kernels(self, model: Any, progress: float, until: float = 0.0) -> list[Any]:
        """Returns the latent kernels whose length says nothing and that do not rest."""
        return [
            weight
            for layer in built_self_binarizing_layers(model)
            if isinstance(layer, SelfBinarizingKernelLayer) and layer.ignores_kernel_length
            if not self._rests(self._kernel_schedule(layer), progress, until)
            for weight in latent_kernel_weights(layer)
            if weight.trainable
        ]

    def averages(self, progress: float, until: float = 0.0) -> bool:
        """Whether kernels are to be averaged: as long before the rest as the rest lasts."""
        if self.rest_at is None or self.rests(progress, until):
            return False
        return progress >= 2 * self.rest_at - 1 and self.kernel(progress) == HARD

    def rests(self, progress: float, until: float = 0.0) -> bool:
        """Whether kernels are to rest.

        Args:
            progress: Share of training that lies behind.
            until: How much of training passes until this is asked again. Where that is long, the rest
                begins at the nearest moment.
        """
        return self._rests(self.kernel, progress, until)

    def settles(self, progress: float, until: float = 0.0) -> bool:
        """Whether statistics are to settle: in the second half of the rest.

        Args:
            progress: Share of training that lies behind.
            until: How much of training passes until this is asked again; the statistics settle early
                rather than not at all.
        """
        if self.rest_at is None or not self.rests(progress, until):
            return False
        return progress + until > (1 + self.rest_at) / 2 + _ROUNDING

    def _kernel_schedule(self, layer: Any) -> Schedule:
        return self.by_layer.get(layer.name, (self.kernel, self.activation))[0]

    def _rests(self, schedule: Schedule, progress: float, until: float) -> bool:
        if self.rest_at is None or schedule(progress) != HARD:
            return False
        return progress + until / 2 >= self.rest_at - _ROUNDING

    def _with_rest(self, schedule: Schedule) -> SteppedSchedule:
        def value(progress: float, until: float) -> float:
            return AT_REST if self._rests(schedule, progress, until) else schedule(progress)

        return value


def _stepped(schedule: Schedule) -> SteppedSchedule:
    return lambda progress, until: schedule(progress)


def normalizations(model: Any) -> list[BinaryBatchNormalization]:
    """Returns the layers of `model` whose statistics can settle, at any depth, each once."""
    found = [layer for layer in model._flatten_layers() if isinstance(layer, BinaryBatchNormalization)]
    return [layer for layer in dict.fromkeys(found) if layer.built]


def sharpen(
    model: Any,
    progress: float,
    schedule: Schedule | None = None,
    activation_schedule: Schedule | None = None,
    layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
    rest_at: float | None = REST_AT,
) -> None:
    """Sets the sharpness of `model` to what it is at `progress` of training.

    For training loops of one's own; with `model.fit`, use `keras_sbn.callbacks.Sharpen`. Call it before
    a step, as often as the sharpness shall change, and `keras_sbn.binarize` at the end. A step compiled
    with `tf.function` or `jax.jit` sees the new value, as long as it reads the layers' variables (with
    JAX: as long as `model.non_trainable_variables` are passed to it, as `stateless_call` does). In the
    last twentieth, kernels that are hard rest where they are, and the statistics of
    `BinaryBatchNormalization` settle. Weight decay is left to the optimizer of the loop.

    Args:
        model: A built Keras model with self-binarizing layers; changed in place.
        progress: Share of training that lies behind, in [0, 1].
        schedule: A `keras_sbn.schedules.SharpnessSchedule`. Default: `Exponential()`.
        activation_schedule: Schedule of the activations, where it is another one.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.
        rest_at: Share of training after which kernels rest; `None`: never. See
            `keras_sbn.callbacks.Sharpen`.

    Raises:
        ValueError: If `progress` is not in [0, 1], or the model is not built or has no such layer.

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
    plan = SharpnessPlan(schedule, activation_schedule, layer_schedules, rest_at)
    for weight, its_schedule in plan.weights(model):
        weight.assign(its_schedule(progress, 0.0))
    for layer in normalizations(model):
        layer.settle(plan.settles(progress))


def _check_schedule(name: str, schedule: Any) -> None:
    if not callable(schedule):
        raise ValueError(
            f"Expected `{name}` to be a keras_sbn.schedules schedule, or another function of progress in "
            f"[0, 1]. Received: {name}={schedule!r}"
        )
