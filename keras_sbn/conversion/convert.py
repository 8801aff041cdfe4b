"""From a Keras model to the bytes of a .tflite file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from keras_sbn.conversion import layers as _layers  # noqa: F401 (registers the lowerings)
from keras_sbn.conversion.against_plan import compare_with_plan
from keras_sbn.conversion.calibration import Calibration
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.conversion.emitter import PlannedOperator
from keras_sbn.conversion.passes import PASSES, rules
from keras_sbn.conversion.passes.keep_float import names_of
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import refuse_unknown
from keras_sbn.conversion.targets import TARGETS, target_class
from keras_sbn.conversion.targets.base import Settings
from keras_sbn.folding.fold import folded_graph, rewrite
from keras_sbn.folding.graph import Graph
from keras_sbn.suggestions import did_you_mean
from keras_sbn.tflite.interpreter import can_open
from keras_sbn.tflite.metadata import with_metadata
from keras_sbn.tflite.micro import arena_bytes
from keras_sbn.tflite.places import oldest_litert
from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.writer import ModelWriter

_INPUT_TYPES = (None, "float32", "int8", "uint8")


def convert(
    model: Any,
    target: str = "lce",
    *,
    activations: str = "float32",
    representative_data: Any = None,
    float_layers: Iterable[str] = (),
    input_type: str | None = None,
    output_type: str | None = None,
    weight_bits: int | str = 8,
    allow_float_fallback: bool = False,
    allow_rounded_signs: bool = False,
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
) -> ConvertedModel:
    """Converts a trained or a folded model to a `.tflite` file, to C code or to ONNX.

    Every binary convolution and dense layer becomes one binary operator, with its threshold inside where
    the next layer is binary. The file is read back and compared with what was meant before it is
    returned.

    Args:
        model: A Functional or Sequential Keras model, hard (see `keras_sbn.binarize`), or the result of
            `keras_sbn.fold`. Input sizes are fixed; the batch size becomes 1.
        target: `"lce"`, the operators of the Larq Compute Engine: one bit a weight, bits between the
            layers. `"tflite"`, stock int8 operators that any TFLite or LiteRT runtime has, delegated to
            XNNPACK: one byte a weight. `"c"`, a C99 header and source that need no runtime, for
            microcontrollers: one bit a weight, see `keras_sbn.ConvertedC`. `"onnx"`, an ONNX model of
            standard operators, or of QONNX's: one byte a weight, see `keras_sbn.ConvertedOnnx`. All of
            them decide as the hard model does on every input. `"micro"`, integers alone from the input
            to the output, for TensorFlow Lite Micro and Arm's Ethos-U: binary layers as in `"tflite"`,
            sums and real values in int16. Its signs are those of the hard model; a model that takes
            signs of numbers which int16 rounds, as residual networks do, is refused
            (`allow_rounded_signs`).
        activations: What the layers compute with that are not binary. `"float32"`, exactly as the
            folded model does; or `"int8"`, as TensorFlow's post-training quantization does: smaller and
            faster, and no longer exact. Binary layers stay binary and exact in what they read, but a
            sign of rounded values can differ from the model's: `keras_sbn.verify` says how often.
            `target="micro"` has integers in any case.
        representative_data: Some hundred inputs of the kind the model will see, from which the scales of
            integer values follow: an array, or a dataset as `keras_sbn.verify` takes it.
        float_layers: Names of layers that compute in float32 with activations="int8" too, such as those
            that lose too much in int8. Their inputs are converted from int8 where they come in int8, and
            their outputs to it where something reads them so. With activations="float32" all are float.
        input_type: `"float32"`, `"int8"` or `"uint8"`, the type of the file's inputs, with scale and
            zero point in the file. By default as the model has it: uint8 for images, float32 otherwise,
            and int8 with `target="micro"`.
        output_type: Likewise of the outputs; float32 by default. With `target="micro"` `"int8"`,
            `"uint8"` or `"int16"`: by default int8 where that holds the values exactly, else int16.
        weight_bits: Bits of a weight of ±1. With `target="tflite"` 8, 4, 2 or `"auto"`: fewer than 8 make
            the layer a FULLY_CONNECTED, convolutions by way of SLICE and CONCATENATION, which takes more
            time; 2 need LiteRT 2.1. `"auto"` takes 2 for dense layers, which cost no time from LiteRT
            2.1.3 on, and 8 elsewhere. With `target="micro"` 8 or 4: 4 halve the flash, and take RAM for
            the largest kernel, as TensorFlow Lite Micro unpacks it; Ethos-U takes 8 alone.
        allow_float_fallback: Whether a layer that should be binary and cannot be is converted as a float
            layer, and an operator that is not as planned is tolerated; the report has the reason and the
            remedy. Otherwise they are errors.
        allow_rounded_signs: Whether `target="micro"` converts a model that takes signs of numbers which
            int16 rounds. A sign within a few steps of its threshold can then differ, and others after it;
            the report says how large a step is.
        labels: Names of the classes in the order of the output. They go into the file as standard TFLite
            metadata, from which apps and tools read them.
        input_range: `(low, high)` where the network was trained on ``low + image * (high - low) / 255``
            of 8-bit images: (0, 1) for `image / 255`. It goes into the metadata as the normalization of
            the input. A file that takes the 8-bit image itself does not need it.

    Returns:
        A `ConvertedModel` with the bytes, the report and `predict`; with `target="c"` a `ConvertedC`, and
        with `target="onnx"` a `ConvertedOnnx`.

    Raises:
        ValueError: If an argument is unknown, representative data are missing or do not fit, the model
            cannot be folded, a layer that should be binary is not, a sign would be one of rounded
            numbers, or a layer has no counterpart in the target; the message names the layer. If labels
            or range do not fit the model, or the installed runtime is older than what the file asks for.
        ImportError: If no package with the TFLite schema is installed.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> path = keras_sbn.convert(model, target="tflite").save("model.tflite")
    """
    for name, value, known in (
        ("target", target, tuple(TARGETS)),
        ("activations", activations, ("float32", "int8")),
        ("input_type", input_type, _INPUT_TYPES),
        ("output_type", output_type, (*_INPUT_TYPES, "int16")),
    ):
        if value not in known:
            raise ValueError(f"Expected `{name}` to be one of {list(known)}. Received: {name}={value!r}")
    kind = target_class(target)
    quantize = activations == "int8" or kind.wide_numbers
    if activations == "int8" and not kind.wide_numbers and representative_data is None:
        raise ValueError(
            "Expected `representative_data` with activations='int8', from which the scales of int8 "
            "values follow. Received: none. Give some hundred inputs of the kind the model will see."
        )
    if activations == "int8" and not kind.has_int8:
        raise ValueError(
            f"Expected activations='float32' with target={target!r}, which computes what is not binary "
            "in float32. Received: activations='int8'. target='tflite' computes it in int8."
        )
    if kind.wide_numbers and "float32" in (input_type, output_type):
        raise ValueError(
            f"Expected `input_type` and `output_type` to be integers with target={target!r}, which has "
            f"no float32. Received: input_type={input_type!r}, output_type={output_type!r}. Leave them "
            "out."
        )
    if output_type == "int16" and not kind.wide_numbers:
        raise ValueError(
            f"Expected `output_type` to be one of {list(_INPUT_TYPES)}: target='micro' alone computes in "
            f"int16. Received: output_type='int16', target={target!r}"
        )
    if weight_bits != 8 and weight_bits not in kind.weight_bits:
        raise ValueError(
            f"Expected `weight_bits` to be one of {list(kind.weight_bits or (8,))} with "
            f"target={target!r}. Received: weight_bits={weight_bits!r}"
            + ("" if kind.weight_bits else ". Leave it out: a binary weight takes one bit.")
        )
    if isinstance(float_layers, str) or not isinstance(float_layers, Iterable):
        raise ValueError(
            f"Expected `float_layers` to be a list of names. Received: float_layers={float_layers!r}"
        )
    in_float = frozenset(float_layers)
    if in_float and kind.wide_numbers:
        raise ValueError(
            f"Expected no `float_layers` with target={target!r}, which has no float32. Received: "
            f"float_layers={sorted(in_float)}. target='tflite' and 'lce' have both."
        )
    settings = Settings(
        allow_float_fallback,
        quantize,
        in_float,
        input_type,
        output_type,
        weight_bits,
        allow_rounded_signs,
    )
    content, plan, names = _written(model, target, settings, representative_data)
    if labels is not None or input_range is not None:
        content = with_metadata(content, labels, input_range, model.name)
    info = read_file(content)
    needed = oldest_litert(info)
    report = compare_with_plan(plan, info, allow_float_fallback)
    refused = can_open(content, target)
    if refused is not None:
        other = "pip install 'keras-sbn[micro]'" if target == "micro" else "give another `weight_bits`"
        remedy = (
            f"The file needs {needed} or later: pip install --upgrade ai-edge-litert, or {other}."
            if needed
            else "Please report this as a bug, with the model; target='tflite' or another layer in place "
            "of the one that is named may help."
        )
        raise LoweringError(f"Expected a file that its runtime opens. Received: {refused}. {remedy}")
    arena = arena_bytes(content) if kind.wide_numbers else None
    report = replace(report, oldest_runtime=needed, arena_bytes=arena)
    return kind.result(content, target, report, *names)


def _written(
    model: Any, target: str, settings: Settings, representative_data: Any
) -> tuple[bytes, list[PlannedOperator], tuple[tuple[str, ...], tuple[str, ...]]]:
    """The bytes of the file, what was meant to be in it, and the names of its inputs and outputs."""
    graph = folded_graph(model)
    _check_names(settings.float_layers, graph)
    rewrite(graph, rules(settings.float_layers if settings.quantize else None))
    refuse_unknown(graph)
    calibration = None
    if representative_data is not None:
        calibration = Calibration(graph, representative_data, model)
    writer = ModelWriter(description="keras_sbn")
    writing = target_class(target)(writer, settings, calibration)
    for run in PASSES:
        run(graph, writing)
    inputs = [writing.values.add_input(node, settings.input_type) for node in graph.inputs]
    for node in graph.nodes():
        writing.write(node)
    if writing.rounded_signs and not settings.allow_rounded_signs:
        _refuse_rounded_signs(target, writing.rounded_signs)
    outputs = [writing.values.output(node, settings.output_type) for node in graph.outputs]
    names = tuple(node.name for node in graph.inputs), tuple(_output_names(graph))
    content = writer.finish([x.index for x in inputs], [y.index for y in outputs], *names)
    return content, writing.emitter.plan, names


def _check_names(float_layers: Iterable[str], graph: Graph) -> None:
    known = {name for node in graph.nodes() for name in names_of(node)}
    for name in float_layers:
        if name not in known:
            raise ValueError(
                f"Expected `float_layers` to name layers of the folded model. Received: {name!r}."
                f"{did_you_mean(name, known)} The layers are {sorted(known)}; what folding removes "
                "computes nothing."
            )


def _refuse_rounded_signs(target: str, names: list[str]) -> None:
    more = f" and {len(names) - 3} others" if len(names) > 3 else ""
    raise LoweringError(
        f"Expected signs of ±1, of their sums or of the input with target={target!r}, which are exact. "
        f"Received: {', '.join(map(repr, names[:3]))}{more}, which take signs of numbers that integers "
        "round; one within a few steps of its threshold can differ from the model's, and changes others "
        "after it. target='c' and 'tflite' compute these numbers in float32. allow_rounded_signs=True "
        "converts the model all the same: the report says how large a step is, `keras_sbn.verify` how "
        "often a decision differs."
    )


def _output_names(graph: Graph) -> list[str]:
    """The keys of a dictionary of outputs, elsewhere the names of the layers, each once."""
    structure = graph.output_structure
    if isinstance(structure, dict) and len(structure) == len(graph.outputs):
        return sorted(structure)
    names = [node.name for node in graph.outputs]
    return [f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
