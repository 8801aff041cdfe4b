"""Which layers are binary, int8 or float within a budget of bytes and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sbn.batches import check_can_be_read_twice
from keras_sbn.from_keras.binary_model import binary_model
from keras_sbn.from_keras.policy import PRECISIONS, candidates
from keras_sbn.from_keras.sensitivity import (
    Cost,
    Samples,
    Sensitivity,
    accuracy,
    after_training,
    cost_of,
    measure,
)
from keras_sbn.tables import format_table

#: Losses are counted in so small a share of the samples.
_LOSS = 1e-5
#: How often the search may ask for less, where the network as built costs more than its layers one by
#: one.
_TRIES = 20


@dataclass(frozen=True)
class Choice:
    """One way to choose a precision for every layer.

    Attributes:
        precisions: A precision a layer.
        bytes: Bytes of the parameters.
        macs: Multiply-accumulates of a sample that are not binary.
        accuracy: What is expected: that of the float network, less the losses of the layers one by one.
    """

    precisions: tuple[str, ...]
    bytes: float
    macs: int
    accuracy: float


@dataclass(frozen=True)
class Plan:
    """A policy for `keras_sbn.binary_model`, and what it follows from. `print` shows it as a table.

    Attributes:
        layers: A `Sensitivity` for each layer that could be binary.
        chosen: The `Choice` that loses least within the budget.
        float_accuracy: Accuracy of the float network on the held-out samples.
        measured_accuracy: That of the chosen network after as many batches of training as each layer had.
        float_bytes: Bytes of the float network's parameters.
        front: What the least expected loss is for every number of bytes, from the smallest network on.
        steps: How many batches each network was trained.
        samples: How many samples were held out.

    Example: see `keras_sbn.plan`.
    """

    layers: tuple[Sensitivity, ...]
    chosen: Choice
    float_accuracy: float
    measured_accuracy: float
    float_bytes: float
    front: tuple[Choice, ...]
    steps: int
    samples: int

    def __call__(self, layer: Any) -> str:
        """The precision of a layer of the planned network, for `binary_model(policy=plan)`.

        Raises:
            ValueError: If the plan has no layer of that name.
        """
        for row, precision in zip(self.layers, self.chosen.precisions, strict=True):
            if row.name == layer.name:
                return precision
        names = [row.name for row in self.layers]
        raise ValueError(
            f"Expected a layer of the network that was planned: {names}. Received: {layer.name!r}"
        )

    def plot(self, path: str | Path) -> Path:
        """Draws the expected accuracy against bytes, and what was chosen; returns the path.

        Raises:
            ImportError: If matplotlib is missing.
        """
        from keras_sbn.plots import accuracy_against_bytes

        points = [(one.bytes, one.accuracy) for one in self.front]
        marks = {
            "float": (self.float_bytes, self.float_accuracy),
            "chosen, expected": (self.chosen.bytes, self.chosen.accuracy),
            f"chosen, after {self.steps} batches": (self.chosen.bytes, self.measured_accuracy),
        }
        return accuracy_against_bytes(points, path, marks)

    def __str__(self) -> str:
        rows = []
        for row, chosen in zip(self.layers, self.chosen.precisions, strict=True):
            losses = [
                f"{100 * row.losses[one]:+.1f}" if one in row.losses else "-"
                for one in ("binary", "int8")
            ]
            saved = row.bytes.get("float", 0.0) - row.bytes[chosen]
            macs = row.macs.get("float", 0) - row.macs[chosen]
            rows.append((row.name, row.kind, *losses, chosen, f"{saved:,.0f}", f"{macs:,}"))
        header = ("layer", "kind", "binary loses", "int8 loses", "chosen", "bytes saved", "MACs saved")
        table = format_table(header, rows, "llrrlrr")
        return (
            f"{table}\n\nlosses in points of accuracy on {self.samples:,} samples, one layer at a time, "
            f"a binary "
            f"one after {self.steps} batches of learning from the float network\n"
            f"float: {100 * self.float_accuracy:.1f} %, {self.float_bytes:,.0f} bytes\n"
            f"chosen: {100 * self.chosen.accuracy:.1f} % expected, {100 * self.measured_accuracy:.1f} % "
            f"measured "
            f"after {self.steps} batches, {self.chosen.bytes:,.0f} bytes, {self.chosen.macs:,} "
            "multiply-accumulates that are not binary"
            + ("" if "binary" in self.chosen.precisions else "; no layer has to be binary for that")
        )


def plan(
    model: Any,
    size: float | None = None,
    macs: int | None = None,
    *,
    data: Any,
    validation_data: Any = None,
    precisions: Iterable[str] = PRECISIONS,
    steps: int = 100,
    batch_size: int = 64,
) -> Plan:
    """Proposes which layers become binary, which int8, and which stay float, within a budget.

    Every layer that can be binary is measured alone. Binary: the network in which only this layer is
    binary starts from the weights of `model`, learns from it for `steps` batches, is made hard, and
    classifies `validation_data`. int8: its kernel is rounded to 8 bits. Of all combinations within the
    budget the plan is the one whose losses have the smallest sum. That the sum is the loss of the whole
    is an
    assumption: so the network that is chosen is trained for as many batches and measured as well, and it
    still has its real training before it.

    Bytes are those of the parameters, as `keras_sbn.summary` counts them; multiply-accumulates are those
    of one sample that are not binary. Both are those of the network that `binary_model` makes, with all
    that it adds.

    Args:
        model: A trained Functional or Sequential classifier; it is not changed.
        size: Largest number of bytes; `None` does not ask.
        macs: Largest number of multiply-accumulates that are not binary; `None` does not ask.
        data: `(x, y)`: inputs as the model sees them, an array or a structure of them as its inputs, and
            classes as integers.
        validation_data: The same to measure on; `None` holds out a fifth of `data`.
        precisions: What may be chosen. A file can have all three: see `keep` of
            `keras_sbn.binary_model`.
        steps: How many batches each network is trained; 0 measures it with estimated statistics alone.
        batch_size: Number of samples in a batch.

    Returns:
        A `Plan`, which is a policy: `keras_sbn.binary_model(model, policy=plan)`. Where no layer has to
        be binary, the plan says so, and there is no binary network to make.

    Raises:
        ValueError: If nothing fits the budget, and the message says what the least is; or if an argument
            is wrong.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(64, 8)).astype("float32"), rng.integers(0, 3, 64)
    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(64, activation="relu", name="hidden"),
    ...     keras.layers.Dense(64, activation="relu", name="second"),
    ...     keras.layers.Dense(3),
    ... ])
    >>> plan = keras_sbn.plan(model, size=4000, data=(x, y), steps=0)
    >>> plan.chosen.bytes <= 4000, "binary" in plan.chosen.precisions
    (True, True)
    >>> result = keras_sbn.binary_model(model, policy=plan)
    """
    wanted = _checked(precisions, size, macs, steps, batch_size)
    samples = _samples(model, data, validation_data)
    layers = candidates(model)
    if not layers:
        raise ValueError(
            f"Expected a model with a convolution or a dense layer. Received: {model.name!r}, which has "
            f"none"
        )
    float_cost, float_accuracy = cost_of(model), accuracy(model, samples)
    rows = tuple(
        measure(model, layer, wanted, samples, steps, batch_size, float_accuracy, float_cost)
        for layer in layers
    )
    for row in rows:
        if not row.losses:
            raise ValueError(
                f"Expected layer {row.name!r} to be possible in one of {list(wanted)}. Received: "
                f"{row.reasons['binary']}; add 'float' to `precisions`"
            )
    front = _front(rows, float_cost, float_accuracy, macs is not None)
    chosen = _chosen(model, rows, front, size, macs)
    measured = float_accuracy
    if "binary" in chosen.precisions:
        made = binary_model(model, policy=_as_policy(rows, chosen))
        measured = after_training(made, model, samples, steps, batch_size)
    by_bytes = front if macs is None else _front(rows, float_cost, float_accuracy, False)
    return Plan(
        rows,
        chosen,
        float_accuracy,
        measured,
        float_cost.bytes,
        tuple(by_bytes),
        steps,
        len(samples.labels),
    )


def _front(
    rows: Sequence[Sensitivity], float_cost: Cost, float_accuracy: float, with_macs: bool
) -> list[Choice]:
    """All choices that no other beats in bytes, losses and, if asked, multiply-accumulates.

    Layer by layer: what begins with a choice that is beaten is beaten as well, as the sums go on alike.
    """
    nothing: tuple[str, ...] = ()
    states = [(float_cost.bytes, 0.0, float_cost.macs, nothing)]
    for row in rows:
        longer = [
            (size + row.bytes[one], loss + row.losses[one], macs + row.macs[one], (*before, one))
            for size, loss, macs, before in states
            for one in row.losses
        ]
        states = _not_beaten(longer, with_macs)
    return [Choice(way, size, macs, float_accuracy - loss) for size, loss, macs, way in states]


def _not_beaten(states: list[Any], with_macs: bool) -> list[Any]:
    """Those of which no other has as few bytes, as small a loss and, if asked, as few operations."""
    kept: list[Any] = []
    best: list[tuple[int, int]] = []  # losses and operations of those kept, none of which beats another
    for state in sorted(states, key=lambda state: (state[0], state[1], state[2])):
        point = (round(state[1] / _LOSS), state[2] if with_macs else 0)
        if any(loss <= point[0] and macs <= point[1] for loss, macs in best):
            continue
        best = [one for one in best if not (point[0] <= one[0] and point[1] <= one[1])] + [point]
        kept.append(state)
    return kept


def _chosen(
    model: Any,
    rows: Sequence[Sensitivity],
    front: Sequence[Choice],
    size: float | None,
    macs: int | None,
) -> Choice:
    """The choice of the least loss whose network, as it is built, is within the budget.

    Raises:
        ValueError: If none is.
    """
    in_order = sorted(front, key=lambda one: (-one.accuracy, one.bytes))
    fitting = [one for one in in_order if _within(one.bytes, one.macs, size, macs)]
    # Layers beside each other share what is added between them, so that a sum may be a little off.
    built = []
    for one in [*fitting[:_TRIES], *_smallest(front)]:
        cost = _built_cost(model, rows, one)
        exact = Choice(one.precisions, cost.bytes, cost.macs, one.accuracy)
        if _within(cost.bytes, cost.macs, size, macs):
            return exact
        built.append(exact)
    least = min(built, key=lambda one: one.bytes)
    fewest = min(built, key=lambda one: one.macs)
    asked = [] if size is None else [f"size={size:,.0f} bytes"]
    asked += [] if macs is None else [f"macs={macs:,}"]
    raise ValueError(
        f"Expected a budget that a choice of precisions meets. Received: {', '.join(asked)}; the "
        f"smallest "
        f"network takes {least.bytes:,.0f} bytes, and the one with the fewest multiply-accumulates that "
        f"are not "
        f"binary {fewest.macs:,}. Make the model narrower, or allow more"
    )


def _smallest(front: Sequence[Choice]) -> list[Choice]:
    return [min(front, key=lambda one: one.bytes), min(front, key=lambda one: one.macs)]


def _within(size: float, macs: int, largest: float | None, most: int | None) -> bool:
    return (largest is None or size <= largest) and (most is None or macs <= most)


def _built_cost(model: Any, rows: Sequence[Sensitivity], choice: Choice) -> Cost:
    """What the network costs that `binary_model` makes of a choice."""
    int8 = frozenset(row.name for row, one in zip(rows, choice.precisions, strict=True) if one == "int8")
    if "binary" not in choice.precisions:
        return cost_of(model, int8)
    return cost_of(binary_model(model, policy=_as_policy(rows, choice)).model, int8)


def _as_policy(rows: Sequence[Sensitivity], choice: Choice) -> Any:
    by_name = {row.name: one for row, one in zip(rows, choice.precisions, strict=True)}
    return lambda layer: by_name[layer.name]


def _checked(
    precisions: Iterable[str], size: float | None, macs: int | None, steps: int, batch_size: int
) -> tuple[str, ...]:
    wanted = tuple(precisions)
    if not wanted or not set(wanted) <= set(PRECISIONS):
        raise ValueError(
            f"Expected `precisions` to be some of {list(PRECISIONS)}. Received: precisions={wanted}"
        )
    for name, value in (("size", size), ("macs", macs)):
        if value is not None and not value >= 0:
            raise ValueError(f"Expected `{name}` to be 0 or more, or None. Received: {name}={value!r}")
    if steps < 0 or batch_size < 1:
        raise ValueError(
            "Expected `steps` of 0 or more and `batch_size` of 1 or more. Received: "
            f"steps={steps!r}, batch_size={batch_size!r}"
        )
    return wanted


def _samples(model: Any, data: Any, validation_data: Any) -> Samples:
    for name, given in (("data", data), ("validation_data", validation_data)):
        check_can_be_read_twice(given, name)
        if given is not None and not (isinstance(given, tuple) and len(given) == 2):
            raise ValueError(
                f"Expected `{name}` to be (x, y), inputs and classes. Received: {type(given).__name__}"
            )
    if data is None:
        raise ValueError("Expected `data` to measure with. Received: data=None")
    x, y = data
    labels = _labels(y, "data")
    if validation_data is not None:
        held_out, held_labels = validation_data
        return Samples(x, held_out, _labels(held_labels, "validation_data"))
    order = np.random.default_rng(0).permutation(len(labels))
    held = max(len(labels) // 5, 1)

    def part(rows: np.ndarray) -> Any:
        return keras.tree.map_structure(lambda values: np.asarray(values)[rows], x)

    return Samples(part(order[held:]), part(order[:held]), labels[order[:held]])


def _labels(y: Any, name: str) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[-1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"Expected the classes of `{name}` as integers, (samples,). Received: {labels.dtype} of "
            f"shape "
            f"{labels.shape}; of one-hot classes take y.argmax(-1)"
        )
    return labels
