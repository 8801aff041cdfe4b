"""Which sharpness every layer has at a point of training: the plan that Sharpen and sharpen follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras_sbn.binarize import built_self_binarizing_layers
from keras_sbn.schedules import Exponential

#: A `keras_sbn.schedules.SharpnessSchedule`, or any function from progress to sharpness.
Schedule = Callable[[float], float]


class SharpnessPlan:
    """The schedule of every sharpness weight of a model.

    Args:
        schedule: Schedule of the kernels, and of the activations unless they have their own. Default:
            `Exponential()`.
        activation_schedule: Schedule of the activations.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.

    Raises:
        ValueError: If something given is not callable.
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        activation_schedule: Schedule | None = None,
        layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
    ) -> None:
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

    def weights(self, model: Any) -> list[tuple[Any, Schedule]]:
        """Returns the sharpness weights of `model`, each with its schedule.

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
                found.append((layer.kernel_sharpness, kernel))
            if layer.activation_sharpness is not None:
                found.append((layer.activation_sharpness, activation))
        return found


def sharpen(
    model: Any,
    progress: float,
    schedule: Schedule | None = None,
    activation_schedule: Schedule | None = None,
    layer_schedules: Mapping[str, Schedule | tuple[Schedule, Schedule]] | None = None,
) -> None:
    """Sets the sharpness of `model` to what it is at `progress` of training.

    For training loops of one's own; with `model.fit`, use `keras_sbn.callbacks.Sharpen`. Call it before
    a step, as often as the sharpness shall change, and `keras_sbn.binarize` at the end. A step compiled
    with `tf.function` or `jax.jit` sees the new value, as long as it reads the layers' variables (with
    JAX: as long as `model.non_trainable_variables` are passed to it, as `stateless_call` does).

    Args:
        model: A built Keras model with self-binarizing layers; changed in place.
        progress: Share of training that lies behind, in [0, 1].
        schedule: A `keras_sbn.schedules.SharpnessSchedule`. Default: `Exponential()`.
        activation_schedule: Schedule of the activations, where it is another one.
        layer_schedules: Schedules of single layers, by layer name: one for both, or a pair for kernel
            and activation.

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
    for weight, its_schedule in SharpnessPlan(schedule, activation_schedule, layer_schedules).weights(
        model
    ):
        weight.assign(its_schedule(progress))


def _check_schedule(name: str, schedule: Any) -> None:
    if not callable(schedule):
        raise ValueError(
            f"Expected `{name}` to be a keras_sbn.schedules schedule, or another function of progress in "
            f"[0, 1]. Received: {name}={schedule!r}"
        )
