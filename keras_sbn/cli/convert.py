"""`keras-sbn convert`: from a .keras file to a .tflite file, C code or ONNX."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_sbn.cli.common import (
    OK,
    add_command,
    add_folding,
    add_model,
    file_to_write,
    folded,
    load_model,
    read_data,
    read_labels,
)
from keras_sbn.cli.runs import run_of
from keras_sbn.conversion.targets import SUFFIXES, TARGETS, TFLITE_TARGETS


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "convert",
        "convert a model to a .tflite file or to C, and say what became of every layer",
        "Folds a model where it is not folded yet, and writes what decides as the model does: a .tflite\n"
        "file for the Larq Compute Engine or for any TFLite runtime, or C code for a microcontroller.",
        "keras-sbn convert model.keras --target lce --out model.tflite --report report.json\n"
        "         keras-sbn convert model.keras --activations int8 --representative-data images.npy\n"
        "         keras-sbn convert model.keras --target c --out network.c\n"
        "         keras-sbn convert --from-larq model.h5 --out model.tflite",
    )
    add_model(parser)
    add_folding(parser)
    parser.add_argument(
        "--out",
        type=file_to_write,
        help="file to write; with --target c the source, beside which the header is written (default: "
        "model.tflite, model.c or model.onnx)",
    )
    parser.add_argument(
        "--target",
        choices=tuple(TARGETS),
        default="lce",
        help="lce: one bit a weight; tflite: stock int8 operators; micro: integers alone, for "
        "microcontrollers; c: C99 source and header, one bit a weight; onnx: standard ONNX operators "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--activations",
        choices=("float32", "int8"),
        default="float32",
        help="what layers that are not binary compute with: float32 exactly, int8 smaller, faster and "
        "rounded (default: %(default)s)",
    )
    parser.add_argument(
        "--representative-data",
        help="some hundred inputs as .npy, or as .npz with an array an input, from which the scales of "
        "int8 values follow",
    )
    parser.add_argument(
        "--float-layers",
        nargs="+",
        default=(),
        metavar="NAME",
        help="layers that compute in float32 with --activations int8 too",
    )
    types = ("float32", "int8", "uint8")
    parser.add_argument(
        "--input-type", choices=types, help="type of the file's inputs (default: as the model has it)"
    )
    parser.add_argument(
        "--output-type",
        choices=(*types, "int16"),
        help="type of the file's outputs (default: float32; of micro int8, or int16 if int8 rounds)",
    )
    parser.add_argument(
        "--weight-bits",
        choices=("8", "4", "2", "auto"),
        default="8",
        help="bits of a binary weight, with tflite or, 8 and 4, micro: fewer need a newer runtime and "
        "more time; auto takes the fewest that cost no time (default: %(default)s)",
    )
    parser.add_argument("--report", type=file_to_write, help="file for the report as JSON")
    parser.add_argument(
        "--allow-float-fallback",
        action="store_true",
        help="convert a layer that should be binary and cannot be as a float layer; the report says why",
    )
    parser.add_argument(
        "--allow-rounded-signs",
        action="store_true",
        help="with micro: convert a model that takes signs of numbers which int16 rounds, as residual "
        "networks do; some signs differ then",
    )
    parser.add_argument(
        "--labels",
        help="text file of the classes, one a line, to put into the file (default: those of the run that "
        "the model comes from)",
    )
    parser.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="what 0 and 255 of an image become before the model sees them, to put into the file",
    )
    parser.add_argument(
        "--from-larq",
        action="store_true",
        help="the model is Larq's: an .h5 or .keras file, or a SavedModel folder; prints Larq's own "
        "conversion beside ours",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        help="with --from-larq: module that registers layers of its own, to import before loading",
    )
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="with --from-larq: load Lambda layers, whose code is in the file",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Converts and writes."""
    from keras_sbn.conversion.convert import convert

    out = options.out or f"model{SUFFIXES.get(options.target, '.tflite')}"
    data = options.representative_data
    model = _from_larq(options) if options.from_larq else load_model(options)
    known = None if options.from_larq else run_of(Path(options.model))
    labels = known.class_names if known is not None else None
    if options.labels is not None:
        labels = read_labels(options.labels)
    converted = convert(
        folded(model, options, known),
        target=options.target,
        activations=options.activations,
        representative_data=None if data is None else read_data(data),
        float_layers=options.float_layers,
        input_type=options.input_type,
        output_type=options.output_type,
        weight_bits=options.weight_bits if options.weight_bits == "auto" else int(options.weight_bits),
        allow_float_fallback=options.allow_float_fallback,
        allow_rounded_signs=options.allow_rounded_signs,
        labels=labels,
        input_range=options.input_range and tuple(options.input_range),
    )
    converted.save(out)
    if options.report:
        converted.report.save(options.report)
    figures = []
    # Files are compared with Larq's; C code and ONNX models are none.
    if options.from_larq and options.target in TFLITE_TARGETS:
        from keras_sbn.larq.comparison import compare_with_larq, figures_table

        figures = compare_with_larq(converted, options.model, options.module, not options.unsafe)
    if options.json:
        found = {"file": out, **converted.report.to_dict()}
        if figures:
            found["comparison"] = [asdict(entry) for entry in figures]
        print(json.dumps(found))
        return OK
    print(converted.report)
    if figures:
        print(f"\n{figures_table(figures)}\n")
    print(f"written to {out}")
    return OK


def _from_larq(options: argparse.Namespace) -> Any:
    from keras_sbn.larq import from_larq

    if options.binarize:
        raise ValueError("Expected --binarize or --from-larq: a Larq model is binary. Received both.")
    return from_larq(
        options.model,
        allow_float_fallback=options.allow_float_fallback,
        modules=options.module,
        safe_mode=not options.unsafe,
    )
