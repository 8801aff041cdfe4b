"""`keras-sbn deploy`: a ready project for a device, or a page for browsers, from a .tflite file."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from keras_sbn.cli.common import BAD_INPUT, OK, add_command, file_to_read, read_labels

#: Where `--serve` sends the page to, unless told otherwise.
_PORT = 8000
#: Options that one of the places alone has.
_OF = {"aar": "android", "litert": "web", "overwrite": "web", "serve": "web"}


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "deploy",
        "write a ready project for a device, or a page for browsers, from a .tflite file",
        "android: a Gradle project of an app that classifies pictures. A model of --target tflite needs\n"
        "nothing but Gradle; one of --target lce the AAR of the Larq Compute Engine as well (--aar).\n"
        "web: a page that classifies pictures and what the camera sees, in the browser, with LiteRT.js.\n"
        "It takes a model of --target tflite. npm fetches LiteRT.js, or --litert says where it is; the\n"
        "page itself loads nothing from elsewhere.",
        "keras-sbn deploy android --model model.tflite --labels labels.txt --out app\n"
        "         keras-sbn deploy web --model model.tflite --out page --serve",
    )
    parser.add_argument("device", choices=("android", "web"), help="what to write")
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
        help="android, for a model of --target lce: the AAR that LCE's build_lce_aar.sh makes (default: "
        "the one that is in app/libs of the project)",
    )
    parser.add_argument(
        "--litert",
        metavar="FOLDER",
        help="web: folder into which npm installed @litertjs/core (default: the page's own, or npm "
        "fetches it)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="web: in a folder that holds a page, write its code and LiteRT.js anew as well",
    )
    parser.add_argument(
        "--serve",
        nargs="?",
        const=_PORT,
        type=_port,
        metavar="PORT",
        help=f"web: then serve the page on this machine, until Ctrl-C (PORT: {_PORT})",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="folder for the project or page; one that holds it gets the new model",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the project or the page."""
    for name, device in _OF.items():
        if getattr(options, name) not in (None, False) and options.device != device:
            print(
                f"keras-sbn: Expected --{name} with `deploy {device}` alone. Received: it with `deploy "
                f"{options.device}`",
                file=sys.stderr,
            )
            return BAD_INPUT
    labels = None if options.labels is None else read_labels(options.labels)
    interval = None if options.input_range is None else tuple(options.input_range)
    return (_android if options.device == "android" else _web)(options, labels, interval)


def _android(options: argparse.Namespace, labels: Any, interval: Any) -> int:
    from keras_sbn.deployment.android import write_android_project

    project = write_android_project(options.model, options.out, labels, interval, options.aar)
    _say(
        options,
        {
            "folder": str(project.folder),
            "files": list(project.files),
            "needs_lce": project.needs_lce,
        },
        f"written to {project.folder}. Open it in Android Studio, or run `gradle installDebug` there.",
    )
    return OK


def _web(options: argparse.Namespace, labels: Any, interval: Any) -> int:
    from keras_sbn.deployment.page_server import PageServer
    from keras_sbn.deployment.web import write_web_page

    page = write_web_page(options.model, options.out, labels, interval, options.litert, options.overwrite)
    runtime = f", with LiteRT.js {page.litert_version}" if page.litert_version else ""
    said = {
        "folder": str(page.folder),
        "files": list(page.files),
        "litert_version": page.litert_version,
    }
    if options.serve is None:
        _say(options, said, f"written to {page.folder}{runtime}. --serve shows it.")
        return OK
    with PageServer(page.folder, options.serve) as server:
        try:
            _say(
                options,
                {**said, "address": server.address},
                f"written to {page.folder}{runtime}.\nserving it at {server.address} until Ctrl-C",
            )
            server.serve_forever()
        except KeyboardInterrupt:
            # The way a server ends.
            print(file=sys.stderr)
    return OK


def _say(options: argparse.Namespace, said: dict[str, Any], line: str) -> None:
    if options.json:
        print(json.dumps(said), flush=True)
        return
    for name in said["files"]:
        print(f"  {name}")
    print(line, flush=True)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"expected a port, from 0 to 65535, received {text}")
    return number
