"""Does the file compute what the Keras model computes?"""

from __future__ import annotations

import sys
from typing import Any

from keras_sbn.batches import batches, sample_count
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.options import Kernel, Runtime
from keras_sbn.tflite.reader import named, read_file
from keras_sbn.verification.comparison import Comparison
from keras_sbn.verification.first_difference import compare_layers
from keras_sbn.verification.inputs import InputForms
from keras_sbn.verification.result import Verification
from keras_sbn.verification.runner import Runner

#: Operators that write values as they read them.
_COPYING = (
    "CONCATENATION",
    "MAX_POOL_2D",
    "MAXIMUM",
    "PAD",
    "PADV2",
    "REDUCE_MAX",
    "RESHAPE",
    "SLICE",
    "SPLIT",
    "STRIDED_SLICE",
    "TRANSPOSE",
)


def verify(
    converted: Any,
    model: Any,
    x: Any,
    *,
    batch_size: int = 128,
    workers: int = 1,
    progress: bool = False,
    required_agreement: float = 1.0,
    input_scaling: tuple[float, float] | None = None,
    runtime: Runtime | None = None,
    kernel: Kernel | None = None,
    xnnpack: bool | None = None,
    isolated: bool = False,
) -> Verification:
    """Compares the file with the Keras model on all of `x`, batch by batch.

    A file with float32 activations decides as the model does. One with int8 activations rounds, so its
    values differ by steps of its scales and now and then a decision with them: say what share of
    equal decisions you require.

    Several outputs are compared one by one. Outputs, and inputs in a dictionary, are paired by name where
    file and model have the same names, and by their order otherwise.

    Args:
        converted: The result of `keras_sbn.convert`, or the path or the bytes of a file.
        model: The Keras model it should equal: hard, or folded.
        x: Inputs, `(samples, ...)`, as `model.predict` takes them: an array, a list or a dictionary; a
            tuple `(inputs, targets)`; or a `PyDataset`, a `tf.data.Dataset`, a generator of batches of
            these.
        batch_size: Samples that are compared at once, where `x` is not batched yet.
        workers: Number of processes that run the file. 1 runs it in this one.
        progress: Whether to show the number of samples done, on standard error.
        required_agreement: The share of the samples, at most 1, on which decisions have to be equal.
        input_scaling: `(scale, offset)` where the file is of a model that was folded with this
            `input_scaling` and `model` is the one before: `x` may be the images or the scaled values,
            and the file is given the images and the model ``scale * image + offset``.
        runtime: What runs the file: `"kernels"`, the one-bit kernels of keras-sbn-kernels in LiteRT;
            `"lce"`, the interpreter of the Larq Compute Engine; or `"litert"`, stock TFLite, of LiteRT,
            tflite-runtime or TensorFlow, for stock files alone. `None` takes the best that is installed:
            for a file with LCE's operators the kernels, then LCE, for a stock file stock TFLite.
        kernel: Which of LCE's binary kernels runs the file: `"default"`, which 64-bit ARM runs,
            `"indirect"`, which is the faster one elsewhere, or `"reference"`, that of a build without
            Ruy; `None` takes the fastest here. One that is given asks for LCE. A file that only devices
            with another kernel can run is an error here only with that kernel.
        xnnpack: Whether stock operators run in XNNPACK; `None` does where that is faster. False asks for
            LCE where the file has its operators.
        isolated: Whether a process of its own runs the file, though `workers` is 1. A damaged file can
            end the process that runs it; then this is a RuntimeError.

    Returns:
        A `Verification`, true where the decisions are equal; `print` shows the figures, what ran the
        file, where the first difference is, and the first layer that differs there.

    Raises:
        ValueError: If `x` is empty, holds NaN or does not fit, the model has other inputs or outputs than
            the file, `batch_size` or `workers` is not positive, `required_agreement` is no share, or the
            runtime does not run such a file.
        ImportError: If the runtime is not installed, or none for the file; the message names the package
            to install.
        RuntimeError: If the runtime refuses the file, or a process that runs it ended; the message names
            the file, and the layer where that is known.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> bool(keras_sbn.verify(keras_sbn.convert(model), model, np.ones((2, 32), "float32")))
    True
    """
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be positive. Received: {name}={value}")
    if not 0 <= required_agreement <= 1:
        raise ValueError(
            "Expected `required_agreement` to be a share, from 0 to 1. Received: "
            f"required_agreement={required_agreement}"
        )
    converted = ConvertedModel.load(converted)
    options = {"runtime": runtime, "kernel": kernel, "xnnpack": xnnpack}
    run = Runner(converted, workers, isolated, options)
    forms = InputForms(model, converted, input_scaling)
    comparison = Comparison(converted, model)
    total = sample_count(x)
    stream = (forms.batch(inputs) for inputs in batches(x, batch_size, name="x"))
    with named(converted):
        for batch, expected, received in run.outputs(model, filter(len, stream)):
            comparison.add(batch, expected, received)
            if progress:
                _show(comparison.samples, total)
    if progress:
        print(file=sys.stderr)
    if comparison.samples == 0:
        raise ValueError("Expected at least one sample. Received: none.")
    layer, notes = None, _notes_on_precision(model) if comparison.differing else []
    if comparison.first_batch is not None:
        first = comparison.first_batch
        layer, agreeing = compare_layers(
            converted.content, model, first, input_scaling=input_scaling, run=run.whole
        )
        if forms.can_be_scaled and not agreeing:
            # Every layer that was compared differs: the inputs may be the reason.
            layer = None
            notes.append(
                "the file takes 8-bit images and the model floats, and no layer agrees: if the file is "
                "of a model folded with `input_scaling`, give `verify` the same `input_scaling`; "
                "(1, 0) says that the model takes the images as they are"
            )
    notes += comparison.notes()
    return comparison.result(
        first_differing_layer=layer,
        rounding_operators=_rounding_operators(converted.content),
        required_agreement=float(required_agreement),
        runtime=run.runtime,
        notes=tuple(notes),
    )


def _rounding_operators(content: bytes) -> int:
    """How many operators write integers of a scale other than 1, which whole numbers have."""
    return sum(
        tensor.dtype in ("int8", "int16") and tensor.scales != (1.0,) and op.name not in _COPYING
        for op in read_file(content).operators
        for tensor in op.outputs
    )


def _notes_on_precision(model: Any) -> list[str]:
    """Says so where layers of the model do not compute in float32, as those of every file do."""
    dtypes = {str(layer.compute_dtype) for layer in model._flatten_layers()}
    found = sorted(dtype for dtype in dtypes if dtype.endswith(("float16", "float64")))
    if not found:
        return []
    return [
        f"the model computes in {' and '.join(found)} and the file in float32, so values differ by "
        "rounding, and decisions with them: build the model with the policy 'float32', give it these "
        "weights with set_weights, and compare with that"
    ]


def _show(samples: int, total: int | None) -> None:
    share = ""
    if total:
        filled = 30 * samples // total
        share = f"/{total:,} [{'#' * filled}{'.' * (30 - filled)}]"
    print(f"\rverify {samples:,}{share}", end="", file=sys.stderr, flush=True)
