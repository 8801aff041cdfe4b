"""What a teacher's outputs say of the classes, as logits, and how far a student's are from it.

A teacher's logits ``t`` and a student's ``s`` are compared at a temperature ``T``, as the distributions
``softmax(t / T)`` and ``softmax(s / T)`` (Hinton et al., arXiv 1503.02531, section 2). The gradient of
their divergence falls as ``1 / T^2``; the loss is multiplied by ``T^2``, so that a temperature is no
weight.

Probabilities have logits: of a softmax ``p``, ``log p`` differs from them by one number a sample, which
softmax takes out again; of a sigmoid ``p``, they are ``log p - log(1 - p)``.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

#: Forms of the outputs of a classifier.
LOGITS, SOFTMAX, SIGMOID = "logits", "softmax", "sigmoid"

#: Probabilities below it have no logarithm that float32 can tell.
_SMALLEST = 1e-7

#: Layers that change no value of what they pass on in inference.
_PASSES = (
    keras.layers.ActivityRegularization,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
)


@keras.saving.register_keras_serializable(package="keras_sbn")
class SoftLabels(keras.losses.Loss):
    """Divergence of a student's distribution from its teacher's, at a temperature, times its square.

    Both are given as logits, `(batch, …, classes)`; the loss of a sample is 0 where they are the same.

    Args:
        temperature: Positive number.
        independent: Whether every unit is a probability of its own (a sigmoid), not one of a softmax.
        **options: Arguments of `keras.losses.Loss`.

    Source: Hinton et al., arXiv 1503.02531.
    """

    def __init__(self, temperature: float = 4.0, independent: bool = False, **options: Any) -> None:
        super().__init__(**{"name": "soft_labels", **options})
        self.temperature = float(temperature)
        self.independent = independent

    def call(self, y_true: Any, y_pred: Any) -> Any:
        taught, given = y_true / self.temperature, y_pred / self.temperature
        if self.independent:
            # A unit is a choice of two.
            taught, given = (ops.stack([x / 2, -x / 2], axis=-1) for x in (taught, given))
        log_taught = ops.log_softmax(taught, axis=-1)
        divergence = ops.sum(
            ops.exp(log_taught) * (log_taught - ops.log_softmax(given, axis=-1)), axis=-1
        )
        if self.independent:
            divergence = ops.mean(divergence, axis=-1)
        return divergence * self.temperature**2

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "independent": self.independent}
        return {**super().get_config(), **own}


def logits(outputs: Any, form: str) -> Any:
    """The logits behind outputs of a form, as float32."""
    outputs = ops.cast(outputs, "float32")
    if form == LOGITS:
        return outputs
    log = ops.log(ops.maximum(outputs, _SMALLEST))
    return log if form == SOFTMAX else log - ops.log(ops.maximum(1 - outputs, _SMALLEST))


def forms_of(model: Any, from_logits: bool | None, name: str) -> list[str]:
    """The form of every output of a classifier, in their flat order.

    Args:
        model: A built Keras model.
        from_logits: Whether its outputs are logits; `None` asks the layers that make them.
        name: The argument that `from_logits` is, for messages.

    Raises:
        ValueError: If the layers do not say it.
    """
    tensors = _outputs(model)
    if from_logits is not None:
        if tensors is None:
            raise ValueError(
                f"Expected a Functional or Sequential model, whose outputs are known. Received: "
                f"{model.name!r}, "
                "a subclass that has none; make it one: keras.Model(inputs, model(inputs))"
            )
        return [_given(from_logits, tensor) for tensor in tensors]
    if tensors is None:
        raise ValueError(
            f"Expected a Functional or Sequential model, or `{name}` to say whether its outputs are "
            f"logits. "
            f"Received: {model.name!r}, a subclass"
        )
    return [_form(tensor, model, name) for tensor in tensors]


def _given(from_logits: bool, tensor: Any) -> str:
    if from_logits:
        return LOGITS
    return SIGMOID if tensor.shape[-1] == 1 else SOFTMAX


def _outputs(model: Any) -> list[Any] | None:
    try:
        outputs = model.outputs
    except (AttributeError, ValueError):
        return None
    return None if outputs is None else list(outputs)


def _form(tensor: Any, model: Any, name: str) -> str:
    """Follows an output back to the activation that made it."""
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        return _form(operation.outputs[index], model, name)
    if isinstance(operation, _PASSES):
        return _form(operation._inbound_nodes[node].input_tensors[0], model, name)
    kind = type(operation).__name__
    if kind in ("Softmax", "Sigmoid"):  # layers, and operations of keras.ops
        return kind.lower()
    activation = getattr(operation, "activation", None)
    if activation is None or activation == keras.activations.linear:
        return LOGITS
    for form, function in ((SOFTMAX, keras.activations.softmax), (SIGMOID, keras.activations.sigmoid)):
        if activation == function:
            return form
    raise ValueError(
        f"Expected outputs that are logits or probabilities, of softmax or sigmoid. Received: "
        f"{model.name!r}, "
        f"whose layer {operation.name!r} ends in {getattr(activation, '__name__', activation)!r}; say "
        f"with "
        f"`{name}` what they are"
    )
