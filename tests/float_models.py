"""What tests do with a network that `binary_model` has made: weights as if trained, all files."""

from __future__ import annotations

import keras_sbn
from keras_sbn.extras import why_not_run


def harden(model, rng):
    """Gives the model weights as training might leave them, statistics included, and takes the signs."""
    for weight in model.weights:
        if weight.name.endswith("_sharpness") or weight.name == "accumulated_batches":
            continue
        if weight.name == "moving_variance":
            value = rng.uniform(0.5, 30, weight.shape)
        elif weight.name == "log_gamma":
            value = 0.3 * rng.normal(size=weight.shape)
        else:
            value = 0.5 * rng.normal(size=weight.shape)
        weight.assign(value)
    keras_sbn.binarize(model)


def inputs_of(model, rng, samples=16):
    """Samples for every input, multiples of 1/8."""
    drawn = {
        tensor.name: rng.integers(-16, 17, (samples, *tensor.shape[1:])).astype("float32") / 8
        for tensor in model.inputs
    }
    return drawn if len(drawn) > 1 else next(iter(drawn.values()))


def assert_files_equal(model, rng, targets=("lce", "tflite")):
    """Folds and converts a hard model, and compares every decision of the files with the model's."""
    x = inputs_of(model, rng)
    folded = keras_sbn.fold(model)
    for target in targets:
        converted = keras_sbn.convert(folded, target)
        if why_not_run(target) is None:
            found = keras_sbn.verify(converted, model, x)
            assert found.differing_decisions == 0, (target, str(found))
            assert found.largest_difference < 1e-3, (target, str(found))


def row(result, name):
    """The row of a layer."""
    (found,) = [each for each in result.layers if each.name == name]
    return found


def classes(result, name):
    """The classes of the layers that a layer became."""
    return [each.split(": ")[1] for each in row(result, name).became]
