"""The methods that the accuracy benchmark compares: what each one's layers are, and how it sharpens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from moving_bound import MovingBoundActivation, MovingBoundConv2D, MovingBoundDense
from straight_through import (
    CenteredConv2D,
    CenteredDense,
    CenteredStraightThroughConv2D,
    CenteredStraightThroughDense,
    RecipeActivation,
    RecipeConv2D,
    RecipeDense,
    StraightThroughActivation,
    StraightThroughConv2D,
    StraightThroughDense,
)

from keras_sbn import layers, schedules

_MOMENTUM = 0.9
#: What label smoothing gives to all classes together.
SMOOTHING = 0.1
#: What `with_recipe` adds; only `benchmarks/accelerator` knows them.
RECIPES = ("cutmix", "smooth", "sgd", "one-cycle")


@dataclass(frozen=True)
class Method:
    """A way to train a network.

    Attributes:
        name: As it stands in the table and after `--methods`.
        family: `"float"`, `"straight-through"`, `"larq"` (in a process with Keras 2), `"recipe"`
            (layers of the benchmark that take part in all else that this package does) or `"ours"`.
        note: What it is, for the table.
        options: What differs from the family's defaults: of `"float"` and the straight-through ones
            `activation`, of the others the arguments of their kit and of `Sharpen`.
        revision: Raised when the method changes, so that older rows count no longer.
    """

    name: str
    family: str
    note: str
    options: dict[str, Any] = field(default_factory=dict)
    revision: int = 0

    def kit(self) -> Any:
        """The layers of the method."""
        kits: dict[str, Any] = {"float": FloatKit, "recipe": RecipeKit, "ours": OurKit}
        return kits.get(self.family, StraightThroughKit)(**self._kit_options)

    @property
    def _kit_options(self) -> dict[str, Any]:
        return {k: v for k, v in self.options.items() if k not in (*_SCHEDULING, *_TRAINING)}

    @property
    def graph(self) -> str:
        """What a step depends on beside the values of its variables: the same for many schedules."""
        return json.dumps([self.family, self._kit_options, self.recipe], sort_keys=True)

    @property
    def recipe(self) -> tuple[str, ...]:
        """What `with_recipe` has added."""
        return tuple(self.options.get("recipe", ()))

    def rate_factor(self, progress: float) -> float:
        """What multiplies the learning rate: 1, or a power of the sharpness while it is finite."""
        power = self.options.get("rate_power", 0.0)
        if not power:
            return 1.0
        schedule = self.scheduling()["schedule"]
        return schedule.value(min(progress, schedule.end_at)) ** power

    def hard_kit(self) -> Any:
        """The layers of this package that take the weights of a straight-through network."""
        return OurKit() if self.family == "recipe" else OurKit(normalization="keras")

    @property
    def sharpens(self) -> bool:
        """Whether `keras_sbn.callbacks.Sharpen` takes part in the training."""
        return self.family in ("ours", "recipe")

    def scheduling(self) -> dict[str, Any]:
        """Arguments of `keras_sbn.callbacks.Sharpen`."""
        made = {}
        for key in _SCHEDULES:
            if key in self.options:
                name, arguments = self.options[key]
                made[key] = getattr(schedules, name)(**arguments)
        return {
            **made,
            **{_ARGUMENTS[key]: self.options[key] for key in _ARGUMENTS if key in self.options},
        }


_SCHEDULES = ("schedule", "activation_schedule")
#: From the key of an option, which is in the hashes of the results, to the argument of Sharpen.
_ARGUMENTS = {"rest_at": "freeze_at", "weight_decay": "weight_decay"}
_SCHEDULING = (*_SCHEDULES, *_ARGUMENTS)
_TRAINING = ("recipe", "rate_power")


class FloatKit:
    """Keras's own float layers; "same" pads with zeros."""

    keras = keras

    def __init__(self, activation: str) -> None:
        self._activation = activation

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        return keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)

    def dense(self, units: int) -> Any:
        return keras.layers.Dense(units, use_bias=False)

    def normalization(self) -> Any:
        return keras.layers.BatchNormalization(momentum=_MOMENTUM)

    def logits(self) -> Any:
        return self.normalization()

    def activation(self) -> Any:
        return keras.layers.Activation(self._activation)


class StraightThroughKit:
    """Straight-through layers; the first pads the image with zeros, the others pad with ones.

    Args:
        activation: What stands in for the derivative of sign.
        centered: Whether the mean of a kernel's channel is taken from it.
    """

    keras = keras

    def __init__(self, activation: str, centered: bool = False) -> None:
        self._activation, self._centered = activation, centered

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        made = CenteredStraightThroughConv2D if self._centered else StraightThroughConv2D
        return made(filters, 3, strides, 0.0 if first else 1.0)

    def dense(self, units: int) -> Any:
        return (CenteredStraightThroughDense if self._centered else StraightThroughDense)(units)

    def normalization(self) -> Any:
        return keras.layers.BatchNormalization(momentum=_MOMENTUM)

    def logits(self) -> Any:
        return self.normalization()

    def activation(self) -> Any:
        return StraightThroughActivation(self._activation)


class OurKit:
    """The layers of this package.

    Args:
        kernel: Arguments of the layers that have a kernel, beside the shape.
        activation: Arguments of `SelfBinarizingActivation`.
        normalization: Arguments of `BinaryBatchNormalization`; `"keras"` takes Keras's own layer.
        logits: `"keras"` takes Keras's own layer for the last normalization, as the default has it.
    """

    keras = keras

    def __init__(
        self,
        kernel: dict[str, Any] | None = None,
        activation: dict[str, Any] | None = None,
        normalization: dict[str, Any] | str | None = None,
        logits: str | None = None,
    ) -> None:
        self._kernel, self._activation = kernel or {}, activation or {}
        self._normalization = {} if normalization is None else normalization
        self._logits = logits

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        pad_value = 0.0 if first else 1.0
        return layers.SelfBinarizingConv2D(
            filters, 3, strides=strides, padding="same", pad_value=pad_value, **self._kernel
        )

    def dense(self, units: int) -> Any:
        return layers.SelfBinarizingDense(units, **self._kernel)

    def normalization(self) -> Any:
        if self._normalization == "keras":
            return keras.layers.BatchNormalization(momentum=_MOMENTUM)
        return layers.BinaryBatchNormalization(**self._normalization)

    def logits(self) -> Any:
        if self._logits == "keras":
            return keras.layers.BatchNormalization(momentum=_MOMENTUM)
        return self.normalization()

    def activation(self) -> Any:
        return layers.SelfBinarizingActivation(**self._activation)


class RecipeKit(OurKit):
    """Layers of the benchmark in the place of ours, with all that `Sharpen` does to ours.

    Args:
        activation: Straight-through kernels, and activations with this derivative.
        bound: The bound of the gradient's sharpness moves with ν: `moving_bound.BOUNDS`.
        centered: Whether the mean of a kernel's channel is taken from it.
    """

    def __init__(
        self, activation: str | None = None, bound: str | None = None, centered: bool = False
    ) -> None:
        super().__init__()
        self._derivative, self._bound = activation, bound
        self._conv, self._dense = RecipeConv2D, RecipeDense
        if bound is not None:
            self._conv, self._dense = MovingBoundConv2D, MovingBoundDense
        elif centered:
            self._conv, self._dense = CenteredConv2D, CenteredDense

    @property
    def _bounds(self) -> dict[str, Any]:
        return {} if self._bound is None else {"bound": self._bound}

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        pad_value = 0.0 if first else 1.0
        options = {"strides": strides, "padding": "same", "pad_value": pad_value}
        return self._conv(filters, 3, **options, **self._bounds)

    def dense(self, units: int) -> Any:
        return self._dense(units, **self._bounds)

    def activation(self) -> Any:
        if self._bound is not None:
            return MovingBoundActivation(self._bound)
        if self._derivative is not None:
            return RecipeActivation(self._derivative)
        return layers.SelfBinarizingActivation()


#: Raised when the package's defaults change, of which every method of ours has most.
_DEFAULTS = 5


def _ours(name: str, note: str, **options: Any) -> Method:
    return Method(name, "ours", note, options, _DEFAULTS)


def _recipe(derivative: str) -> Method:
    """Straight-through that is hard from the first step, as it is, for `Sharpen` to rest and decay."""
    options = {"activation": derivative, "schedule": _HARD}
    note = f"straight-through, {derivative}_sign, with normalized kernels, decay and rest"
    return Method(f"{derivative}-recipe", "recipe", note, options, _DEFAULTS)


def _to(end: float, **more: Any) -> tuple[str, dict[str, Any]]:
    """A schedule that rises by equal factors to `end`, then is hard."""
    return ("Exponential", {"end": end, **more})


def with_recipe(method: Method, recipe: tuple[str, ...]) -> Method:
    """The method with parts of `RECIPES`, under a name that says so: `"ours+cutmix"`."""
    if not recipe:
        return method
    name = "+".join((method.name, *recipe))
    return replace(method, name=name, options={**method.options, "recipe": list(recipe)})


#: Nearly from the first step: `end_at` has to be above 0.
_HARD = ("Exponential", {"end_at": 0.001})
_SHARP = {"max_gradient_sharpness": 5.0}
_WIDER = {"max_gradient_sharpness": 2.0}
_EXACT = {"max_gradient_sharpness": None}
_EXACT_GRADIENT = {"kernel": _EXACT, "activation": _EXACT}

#: Every method, by name. "ours" is what the package does by default. All others of its family change
#: something of "own-logits", which was the default before: their logits have a scale that is positive.
METHODS = {
    method.name: method
    for method in (
        Method("float-relu", "float", "float32, ReLU", {"activation": "relu"}),
        Method("float-tanh", "float", "float32, tanh", {"activation": "tanh"}),
        Method("ste", "straight-through", "straight-through, ste_sign", {"activation": "ste"}),
        Method("approx", "straight-through", "straight-through, approx_sign", {"activation": "approx"}),
        Method("swish", "straight-through", "straight-through, swish_sign", {"activation": "swish"}),
        _recipe("ste"),
        _recipe("approx"),
        Method(
            "approx-centered",
            "straight-through",
            "approx, kernels without the mean of a channel",
            {"activation": "approx", "centered": True},
        ),
        Method("larq-ste", "larq", "Larq, ste_sign", {"activation": "ste"}),
        Method("larq-approx", "larq", "Larq, approx_sign", {"activation": "approx"}),
        Method("larq-swish", "larq", "Larq, swish_sign", {"activation": "swish"}),
        _ours(
            "exact",
            "the paper's exact gradient",
            kernel={**_EXACT},
            activation={**_EXACT},
            weight_decay=None,
        ),
        _ours(
            "exact-30",
            "the paper's exact gradient, ν: 1 → 30 over the whole training",
            kernel={**_EXACT},
            activation={**_EXACT},
            weight_decay=None,
            schedule=("Exponential", {"end": 30.0, "end_at": 1.0}),
        ),
        *(
            _ours(
                f"exact-{end}-0.95",
                f"the paper's exact gradient, ν: 1 → {end}, hard and frozen from 0.95",
                schedule=_to(float(end), end_at=0.95),
                **_EXACT_GRADIENT,
            )
            for end in (10, 30, 100)
        ),
        *(
            _ours(
                f"exact-{end}-rate",
                f"as exact-{end}-0.95, the learning rate rises with the root of ν",
                schedule=_to(float(end), end_at=0.95),
                rate_power=0.5,
                **_EXACT_GRADIENT,
            )
            for end in (10, 30)
        ),
        *(
            _ours(
                f"exact-{end}-0.95-slow",
                f"as exact-{end}-0.95, by equal amounts",
                schedule=("Linear", {"end": float(end), "end_at": 0.95}),
                **_EXACT_GRADIENT,
            )
            for end in (5, 10)
        ),
        _ours("ours", "self-binarizing, defaults", logits="keras"),
        _ours("hard-start", "hard nearly from the start", schedule=_HARD, logits="keras"),
        # What each ingredient of the defaults does: one of them changed, the others as they are.
        _ours("own-logits", "BinaryBatchNormalization for the logits too, as in all that follow"),
        _ours("no-rest", "kernels never rest, statistics never settle", rest_at=None),
        _ours("rest-0.9", "kernels rest from 0.9 of training on", rest_at=0.9),
        _ours("no-decay", "no weight decay", weight_decay=None),
        _ours("finite-end", "the last sharpness is 1e7", schedule=("Exponential", {"hard": False})),
        _ours("end-0.5", "hard from half of training", schedule=("Exponential", {"end_at": 0.5})),
        _ours("end-0.25", "hard from a quarter", schedule=("Exponential", {"end_at": 0.25})),
        _ours("own-logits-hard-start", "hard nearly from the start", schedule=_HARD),
        _ours("wide-kernels", "gradient of kernels at ν ≤ 0.3", kernel={"max_gradient_sharpness": 0.3}),
        _ours("sharp-gradient", "all gradients at ν ≤ 5", kernel=_SHARP, activation=_SHARP),
        _ours("raw-kernels", "kernels not divided by their RMS", kernel={"normalize_kernel": False}),
        _ours("keras-bn", "Keras's batch normalization", normalization="keras"),
        _ours("slow-statistics", "momentum 0.99", normalization={"momentum": 0.99}),
        # A soft phase that lasts: where ν ends before the network is hard, when, and how it gets there.
        *(
            _ours(f"nu-{end}", f"ν: 1 → {end} at 0.75, then hard", schedule=_to(float(end)))
            for end in (10, 30, 100, 300, 1000)
        ),
        *(
            _ours(
                f"nu-{end}-{at}",
                f"ν: 1 → {end} at {at}, then hard",
                schedule=_to(float(end), end_at=at),
            )
            for end, at in ((100, 0.5), (100, 0.9), (100, 0.95), (1000, 0.9), (1000, 0.95))
        ),
        _ours("nu-100-linear", "ν: 1 → 100 by equal amounts", schedule=("Linear", {"end": 100.0})),
        _ours("nu-100-cosine", "ν: 1 → 100, slowly at both ends", schedule=("Cosine", {"end": 100.0})),
        *(
            _ours(
                f"held-{value}",
                f"ν = {value} until 0.75, then hard",
                schedule=_to(float(value), start=float(value)),
            )
            for value in (3, 10)
        ),
        _ours(
            "soft-kernels",
            "kernels as nu-100, activations hard from the start",
            schedule=_to(100.0),
            activation_schedule=_HARD,
        ),
        _ours(
            "soft-activations",
            "activations as nu-100, kernels hard from the start",
            schedule=_HARD,
            activation_schedule=_to(100.0),
        ),
        *(
            Method(name, "recipe", note, options, _DEFAULTS)
            for name, note, options in (
                ("bound-grows", "nu-1000, gradient at √ν, at most 5", {"bound": "grows"}),
                ("bound-shrinks", "nu-1000, gradient at ν ≤ 5/√ν, at least 1", {"bound": "shrinks"}),
                ("ours-centered", "nu-1000, kernels without the mean of a channel", {"centered": True}),
            )
            for options in ({**options, "schedule": _to(1000.0)},)
        ),
        # The bound of the gradient of activations; that of kernels stays at 1.
        _ours("gradient-2", "gradient of activations at ν ≤ 2", activation=_WIDER),
        *(
            _ours(
                f"nu-{end}-gradient-2",
                f"ν: 1 → {end} at 0.75, gradient of activations at ν ≤ 2",
                schedule=_to(float(end)),
                activation=_WIDER,
            )
            for end in (100, 1000)
        ),
    )
}
