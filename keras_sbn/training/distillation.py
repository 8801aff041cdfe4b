"""A student trained with a teacher, in `model.fit`.

`keras.distillation.Distiller` (Keras 3.12 and later) does the like; it takes no sample weights, computes
features in a second pass that moves the batch-normalization statistics a second time, and what its
callbacks save is teacher and student together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_sbn.suggestions import did_you_mean
from keras_sbn.training.soft_labels import LOGITS, SIGMOID, SOFTMAX, SoftLabels, forms_of, logits


class _Pass(NamedTuple):
    """What a step of training sees: both models' outputs and features."""

    outputs: Any
    features: list[Any]
    taught: list[Any]
    taught_features: list[Any]


class Distillation(keras.Model):
    """A student and its teacher, as one model to `compile` and `fit`; what is saved is the student.

    The loss is the compiled one on the labels, plus `weight` times the divergence of the student's
    probabilities from the teacher's, both at a temperature, plus `feature_weight` times the differences
    of features. Compiled with `loss=None`, the student learns from the teacher alone and the labels are
    not looked at. Sample weights weigh all of it. The logs of an epoch have `teacher_loss`, and
    `feature_loss` where there are features; validation has the compiled loss and metrics alone.

    Callbacks find the student's layers (`Sharpen`, `HardValidation`, `Monitor`), and what they save is
    the student (`ModelCheckpoint`, `BackupAndRestore`): `save`, `save_weights` and `load_weights` are the
    student's. The student is compiled with the same loss, metrics and optimizer, so that a file holds
    what another training goes on with: load it, make a `Distillation` of it, and compile that with
    `student.optimizer`. The teacher is not changed and not trained, and its dropout is off.

    Args:
        student: A built Keras model, as of `keras_sbn.binary_model`.
        teacher: A built Keras model of the same inputs, whose outputs have the same structure and shapes;
            a float one, usually. Outputs are logits or probabilities.
        temperature: Positive number. The higher, the more the teacher's small probabilities count.
        weight: Weight of the teacher's outputs, 0 or more. For several outputs, one number for all, or
            one an output in the structure of the outputs; 0 leaves an output to its labels, as one that
            is no classification.
        features: Names of layers whose outputs are compared: from the student's layer to the teacher's.
            Functional and Sequential models only.
        feature_weight: Weight of the mean difference of features.
        feature_loss: `"attention"`: where in a map the activity is, ``Σ_channels x²``, divided by its
            length, whatever the number of channels; or a loss of Keras, or its name, of the teacher's and
            the student's feature, which have one shape then.
        student_from_logits: Whether the student's outputs are logits; `None` asks its last layers.
        teacher_from_logits: The same of the teacher's.
        name: Name of the model.

    Attributes:
        student: The student.
        teacher: The teacher.

    Raises:
        ValueError: If an argument is out of range, the models do not belong together, or a layer is not
            there.

    Source: Hinton et al., arXiv 1503.02531 (soft labels); Zagoruyko and Komodakis, arXiv 1612.03928
    (attention), which Martinez et al., arXiv 2003.11535, use for binary networks.

    Example:

    >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    >>> student = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> both = keras_sbn.training.Distillation(student, teacher, temperature=2.0)
    >>> both.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> data = np.ones((8, 4)), np.ones((8,))
    >>> history = both.fit(*data, callbacks=[keras_sbn.callbacks.Sharpen()], verbose=0)
    >>> sorted(history.history)
    ['loss', 'sharpness', 'teacher_loss']
    >>> keras_sbn.binarize(student).already_binary
    True
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        *,
        temperature: float = 4.0,
        weight: Any = 1.0,
        features: Mapping[str, str] | None = None,
        feature_weight: float = 1.0,
        feature_loss: str | Callable[..., Any] = "attention",
        student_from_logits: bool | None = None,
        teacher_from_logits: bool | None = None,
        name: str | None = None,
    ) -> None:
        # Inputs go to both as they are: a teacher may have another dtype policy.
        super().__init__(name=name or f"{_name(student)}_taught", autocast=False)
        _check_models(student, teacher)
        if not _is_number(temperature) or not temperature > 0:
            raise ValueError(
                f"Expected `temperature` to be a positive number. Received: temperature={temperature!r}"
            )
        if not _is_number(feature_weight) or not feature_weight >= 0:
            raise ValueError(
                "Expected `feature_weight` to be a number, 0 or more. Received: "
                f"feature_weight={feature_weight!r}"
            )
        self.student = student
        self.temperature, self.feature_weight = float(temperature), float(feature_weight)
        weights = _weights(weight, student)
        # In an object of its own, which Keras neither tracks nor saves: the teacher is no part of the
        # model.
        self._beside = SimpleNamespace(teacher=teacher, teaches=None, learns=None, has_labels=False)
        self._forms = _forms(student, teacher, weights, student_from_logits, teacher_from_logits)
        self._soft_losses = [
            (share, SoftLabels(temperature, independent))
            for share, (_, _, independent) in zip(weights, self._forms, strict=True)
        ]
        self._feature_loss = _Attention() if feature_loss == "attention" else _loss(feature_loss)
        if features:
            self._beside.learns = _with_features(student, list(features), "student")
            self._beside.teaches = _with_features(teacher, list(features.values()), "teacher")
            _check_features(features, student, teacher, self._feature_loss)
        self._teacher_tracker = keras.metrics.Mean(name="teacher_loss")
        self._feature_tracker = keras.metrics.Mean(name="feature_loss") if features else None
        self.built = True

    @property
    def teacher(self) -> Any:
        return self._beside.teacher

    @property
    def non_trainable_variables(self) -> list[Any]:
        """Those of the student, and the teacher's: JAX is given them in a step, and compiles none in."""
        return [*super().non_trainable_variables, *self._beside.teacher.variables]

    @property
    def metrics(self) -> list[Any]:
        """This model's, and those of the layers inside.

        The student has its own of the same names, which nothing updates here and which Keras before 3.6
        counts to this model.
        """
        parts = self._flatten_layers(include_self=False)
        layers = [part for part in parts if not isinstance(part, keras.Model)]
        inside = {id(metric) for layer in layers for metric in layer.metrics}
        others = {id(metric) for metric in self.student.metrics} - inside
        return [metric for metric in super().metrics if id(metric) not in others]

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **options: Any) -> None:
        """Compiles both this model and the student, with one optimizer; arguments as of `keras.Model`."""
        super().compile(optimizer, loss, **options)
        self._beside.has_labels = loss is not None
        self.student.compile(self.optimizer, loss, **options)

    def make_train_function(self, force: bool = False) -> Any:
        """As Keras's; first every weight gets an array of its own.

        `student.kernel.assign(teacher.kernel)` shares one under JAX, and a step can donate it only once.
        """
        seen: set[int] = set()
        for variable in [*self.trainable_variables, *self.non_trainable_variables]:
            if id(variable.value) in seen:
                variable.assign(np.array(ops.convert_to_numpy(variable)))
            seen.add(id(variable.value))
        return super().make_train_function(force)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not training:
            return self.student(inputs, training=training)
        if self._beside.learns is None:
            outputs, features = self.student(inputs, training=True), []
            taught, taught_features = self._beside.teacher(inputs, training=False), []
        else:
            outputs, features = self._beside.learns(inputs, training=True)
            taught, taught_features = self._beside.teaches(inputs, training=False)
        constant = [ops.stop_gradient(value) for value in keras.tree.flatten(taught)]
        return _Pass(outputs, features, constant, [ops.stop_gradient(one) for one in taught_features])

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        outputs = y_pred.outputs if isinstance(y_pred, _Pass) else y_pred
        if self._beside.has_labels:
            total = super().compute_loss(x, y, outputs, sample_weight, training)
        else:
            total = sum(self.losses, start=ops.zeros(()))
        if not isinstance(y_pred, _Pass):
            return total
        total = total + self._taught_loss(y_pred, sample_weight)
        if self._feature_tracker is not None:
            total = total + self.feature_weight * self._features_loss(y_pred, sample_weight)
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if isinstance(y_pred, _Pass):
            # Here and not in the loss, which JAX differentiates; computed once, as the step is compiled.
            self._teacher_tracker.update_state(self._taught_loss(y_pred, sample_weight))
            if self._feature_tracker is not None:
                self._feature_tracker.update_state(self._features_loss(y_pred, sample_weight))
            y_pred = y_pred.outputs
            return super().compute_metrics(x, y, y_pred, sample_weight)
        found = super().compute_metrics(x, y, y_pred, sample_weight)
        return {name: value for name, value in found.items() if name not in _TAUGHT}

    def _taught_loss(self, seen: _Pass, sample_weight: Any) -> Any:
        """The weighted divergence of all outputs."""
        outputs = keras.tree.flatten(seen.outputs)
        total = ops.zeros(())
        weights = _sample_weights(sample_weight, len(outputs))
        for output, taught, forms, (share, loss), samples in zip(
            outputs, seen.taught, self._forms, self._soft_losses, weights, strict=True
        ):
            if share:
                student, teacher = logits(output, forms[0]), logits(taught, forms[1])
                total = total + share * loss(teacher, student, sample_weight=samples)
        return total

    def _features_loss(self, seen: _Pass, sample_weight: Any) -> Any:
        """The mean difference of the features."""
        (samples,) = _sample_weights(sample_weight, 1)
        losses = [
            self._feature_loss(
                ops.cast(taught, "float32"), ops.cast(feature, "float32"), sample_weight=samples
            )
            for taught, feature in zip(seen.taught_features, seen.features, strict=True)
        ]
        return sum(losses, start=ops.zeros(())) / len(losses)

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the student, with its optimizer."""
        self.student.save(filepath, overwrite=overwrite, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the weights of the student, with its optimizer's."""
        self.student.save_weights(filepath, overwrite=overwrite, **options)

    def load_weights(self, filepath: Any, **options: Any) -> None:
        """Loads weights that `save_weights` saved, here or from the student."""
        self.student.load_weights(filepath, **options)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"Expected the student to be saved or copied, a Keras model as any other. Received: "
            f"{self.name!r}, "
            "which is student and teacher; take its attribute `student`, or its method `save`"
        )


_TAUGHT = ("teacher_loss", "feature_loss")


@keras.saving.register_keras_serializable(package="keras_sbn")
class _Attention(keras.losses.Loss):
    """Squared distance of two maps of activity, each of length 1; the channels are the last axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"name": "attention", **options})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        difference = _activity(y_true) - _activity(y_pred)
        return ops.sum(ops.square(difference), axis=-1)


def _activity(feature: Any) -> Any:
    activity = ops.sum(ops.square(feature), axis=-1)
    flat = ops.reshape(activity, (ops.shape(activity)[0], -1))
    return flat / ops.maximum(ops.norm(flat, axis=-1, keepdims=True), 1e-7)


def _loss(given: Any) -> Any:
    """A loss of Keras from its name, itself, or a function."""
    found = keras.losses.get(given)
    if found is None:
        raise ValueError(
            "Expected `feature_loss` to be 'attention' or a loss of Keras. Received: feature_loss=None"
        )
    if isinstance(found, keras.losses.Loss):
        return found
    return _FunctionLoss(found)


class _FunctionLoss(keras.losses.Loss):
    """A function of two tensors as a loss."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name=getattr(function, "__name__", "function"))
        self._function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._function(y_true, y_pred)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(model: Any) -> str:
    return str(getattr(model, "name", "model"))


def _check_models(student: Any, teacher: Any) -> None:
    for role, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, keras.Model):
            raise ValueError(f"Expected `{role}` to be a keras.Model. Received: {role}={model!r}")
        if not model.built:
            raise ValueError(
                f"Expected a built model. Received: {role}={model.name!r}, which is not; call it on an "
                f"input "
                "first"
            )
    shared = {id(one) for one in student.variables} & {id(one) for one in teacher.variables}
    if shared:
        names = [one.path for one in student.variables if id(one) in shared]
        raise ValueError(
            "Expected a teacher that is not trained with the student. Received: models that share "
            f"{names[:3]}; give a copy, keras.models.clone_model with set_weights"
        )
    for what in ("inputs", "outputs"):
        mine, others = (_shapes(model, what) for model in (student, teacher))
        if mine is None or others is None:
            continue
        if len(mine) != len(others) or not all(map(_agree, mine, others)):
            raise ValueError(
                f"Expected a teacher with {what} of the student's shapes, {mine}. Received: "
                f"{teacher.name!r} "
                f"with {others}"
            )


def _shapes(model: Any, what: str) -> list[tuple[int | None, ...]] | None:
    try:
        tensors = getattr(model, what)
    except (AttributeError, ValueError):
        return None
    return None if tensors is None else [tuple(tensor.shape) for tensor in tensors]


def _agree(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other, strict=True)
    )


def _weights(weight: Any, student: Any) -> list[float]:
    """The weight of every output, in their flat order."""
    count = len(_shapes(student, "outputs") or [None])
    found = [weight] * count if _is_number(weight) else keras.tree.flatten(weight)
    if len(found) != count or not all(_is_number(one) and one >= 0 for one in found):
        raise ValueError(
            f"Expected `weight` to be a number, 0 or more, or one for each of {count} outputs. Received: "
            f"weight={weight!r}"
        )
    return [float(one) for one in found]


def _forms(
    student: Any,
    teacher: Any,
    weights: list[float],
    student_from_logits: bool | None,
    teacher_from_logits: bool | None,
) -> list[tuple[str, str, bool]]:
    """Of every output the student's form, the teacher's, and whether every unit is a sigmoid's."""
    if not any(weights):
        return [(LOGITS, LOGITS, False)] * len(weights)
    mine = forms_of(student, student_from_logits, "student_from_logits")
    others = forms_of(teacher, teacher_from_logits, "teacher_from_logits")
    found = []
    for index, pair in enumerate(zip(mine, others, strict=True)):
        one_unit = student.outputs[index].shape[-1] == 1
        kinds = {*pair} - {LOGITS}
        if weights[index] and (len(kinds) == 2 or (one_unit and SOFTMAX in kinds)):
            raise ValueError(
                "Expected student and teacher to have probabilities of one kind, a softmax of several "
                "classes or "
                f"sigmoids. Received: output {index} with {pair[0]} of {student.name!r} and {pair[1]} of "
                f"{teacher.name!r}, and {student.outputs[index].shape[-1]} classes"
            )
        found.append((*pair, one_unit or SIGMOID in kinds))
    return found


def _with_features(model: Any, names: list[str], role: str) -> Any:
    """A model of the same layers, whose outputs are the model's and a list of features."""
    if _shapes(model, "inputs") is None or _shapes(model, "outputs") is None:
        raise ValueError(
            f"Expected a Functional or Sequential {role} for `features`, whose layers can be read out. "
            f"Received: {model.name!r}, a subclass"
        )
    known = [layer.name for layer in model.layers]
    features = []
    for name in names:
        if name not in known:
            raise ValueError(
                f"Expected `features` to name layers of the {role} {model.name!r}: {known}. Received: "
                f"{name!r}.{did_you_mean(name, known)}"
            )
        layer = model.get_layer(name)
        nodes = layer._inbound_nodes
        if len(nodes) != 1 or len(nodes[0].output_tensors) != 1:
            raise ValueError(
                f"Expected a layer that is used once, with one output. Received: {name!r} of the {role}, "
                "in `features`"
            )
        features.append(layer.output)
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], (model.outputs[0], features))
    return keras.Model(model.input, (model.output, features))


def _check_features(features: Mapping[str, str], student: Any, teacher: Any, loss: Any) -> None:
    for mine, others in features.items():
        shapes = [tuple(m.get_layer(n).output.shape) for m, n in ((student, mine), (teacher, others))]
        if isinstance(loss, _Attention):
            fits = len(shapes[0]) > 2 and _agree(shapes[0][:-1], shapes[1][:-1])
            expected = "maps of one size, (batch, positions, channels), for 'attention'"
        else:
            fits, expected = (
                _agree(*shapes),
                "features of one shape; 'attention' compares maps of any channels",
            )
        if not fits:
            raise ValueError(
                f"Expected {expected}. Received: {mine!r} of the student with {shapes[0]}, and "
                f"{others!r} of the "
                f"teacher with {shapes[1]}"
            )


def _sample_weights(sample_weight: Any, count: int) -> list[Any]:
    """The sample weights of every output, which may be one for all, or one each."""
    flat = keras.tree.flatten(sample_weight) if sample_weight is not None else [None]
    if len(flat) == 1:
        return flat * count
    if len(flat) != count:
        raise ValueError(
            "Expected one tensor of sample weights for features, which belong to no output. Received: "
            f"{len(flat)}; give the same for all outputs, as one array"
        )
    return flat
