"""`keras-sbn deploy`: a ready project for a device from a .tflite file."""

from __future__ import annotations

import argparse
import json
from typing import Any

from keras_sbn.cli.common import OK, add_command, file_to_read, read_labels


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "deploy",
        "write a ready project for a device from a .tflite file",
        "android: a Gradle project of an app that classifies pictures. A model of --target tflite needs\n"
        "nothing but Gradle; one of --target lce the AAR of the Larq Compute Engine as well (--aar).",
        "keras-sbn deploy android --model model.tflite --labels labels.txt --out app",
    )
    parser.add_argument("device", choices=("android",), help="what to write a project for")
    parser.add_argument(
        "--model", type=file_to_read, required=True, help="a .tflite file that classifies images"
    )
    parser.add_argument(
        "--labels", help="text file of the classes, one a line (default: those in the file's metadata)"
    )
    parser.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="what 0 and 255 of an image become before the model sees them (default: what the file's "
        "metadata say; a file that takes the 8-bit image needs none)",
    )
    parser.add_argument(
        "--aar",
        metavar="FILE",
        help="for a model of --target lce: the AAR that LCE's build_lce_aar.sh makes (default: the one "
        "that is in app/libs of the project)",
    )
    parser.add_argument(
        "--out", required=True, help="folder for the project; one that holds it gets the new model"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the project."""
    from keras_sbn.deployment.android import write_android_project

    labels = None if options.labels is None else read_labels(options.labels)
    interval = None if options.input_range is None else tuple(options.input_range)
    project = write_android_project(options.model, options.out, labels, interval, options.aar)
    if options.json:
        print(
            json.dumps(
                {
                    "folder": str(project.folder),
                    "files": list(project.files),
                    "needs_lce": project.needs_lce,
                }
            )
        )
        return OK
    for name in project.files:
        print(f"  {name}")
    print(f"written to {project.folder}. Open it in Android Studio, or run `gradle installDebug` there.")
    return OK
