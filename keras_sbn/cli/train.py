"""`keras-sbn train`: from a data set to verified files and a report."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from keras_sbn.cli.common import CHECK_FAILED, OK, add_command, number
from keras_sbn.training.setting_types import setting_types
from keras_sbn.training.settings import TrainSettings, read_toml


def add_to(commands: Any) -> None:
    """Adds the subcommand; its options are the settings of a training."""
    parser = add_command(
        commands,
        "train",
        "train a known architecture, or a binary one of a Keras model; convert, compare, report",
        "Trains a network of keras_sbn.models on a data set, with checkpoints; then makes it hard,\n"
        "folds and converts it, compares the .tflite files with the model, and writes report.html. All\n"
        "settings are written to run.toml in the folder of the run, and --config takes such a file.\n"
        "--from makes a float Keras model binary and trains that; the report shows it beside the float\n"
        "one and an int8 one. --teacher has the network learn from a float model as well.\n"
        "Exit code 1 if a file decides otherwise than the folded model on an image.",
        "keras-sbn train --model binarynet --dataset cifar10 --epochs 100 --out runs/x\n"
        "         keras-sbn train --from float.keras --teacher --dataset photos/ --out runs/y\n"
        "         keras-sbn train --out runs/x --resume",
    )
    parser.add_argument("--out", default="runs/train", help="folder of the run (default: %(default)s)")
    parser.add_argument("--config", help="TOML file of settings; options given beside it win")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, from its last checkpoint",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="remove a run that is in --out, and begin anew"
    )
    for setting in fields(TrainSettings):
        _add(parser, setting)
    parser.set_defaults(run=run, backend_of=_backend, stopped=_stopped)


def run(options: argparse.Namespace) -> int:
    """Trains."""
    from keras_sbn.training.run import train

    settings = _settings(options)

    def quiet(line: str) -> None:
        del line

    result = train(
        settings,
        options.out,
        options.resume,
        quiet if options.json else _say,
        overwrite=options.overwrite,
        progress=sys.stderr.isatty() and not options.json,
    )
    if options.json:
        print(json.dumps(result.to_dict()))
    if not result.exact:
        print("keras-sbn: decisions of a file differ from the folded model's", file=sys.stderr)
        return CHECK_FAILED
    return OK


def _backend(options: argparse.Namespace) -> tuple[str | None, str]:
    """The backend that is asked for, and where: in `--backend`, or in the file of the settings."""
    if getattr(options, "backend", None) is not None:
        return options.backend, "--backend"
    config = _config(options)
    wanted = None if config is None else read_toml(config).get("backend")
    # One of another type is left to the settings, which say what they expect.
    return (wanted if isinstance(wanted, str) else None), f"backend in {config},"


def _config(options: argparse.Namespace) -> Path | None:
    """The file of the settings: of `--config`, or, of a run that is resumed, its own."""
    stored = Path(options.out) / "run.toml"
    if options.config is not None:
        return Path(options.config)
    return stored if options.resume and stored.exists() else None


def _stopped(options: argparse.Namespace) -> str:
    """What Ctrl-C leaves, and how to go on."""
    out = Path(options.out)
    if not (out / "run.toml").exists():
        return "stopped before the run began"
    epochs = [path.stem.removeprefix("epoch-") for path in (out / "checkpoints").glob("epoch-*.json")]
    done = f"stopped after epoch {int(max(epochs))}" if epochs else "stopped in the first epoch"
    return f"{done}; go on with: keras-sbn train --out {shlex.quote(options.out)} --resume"


def _settings(options: argparse.Namespace) -> TrainSettings:
    names = [setting.name for setting in fields(TrainSettings)]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if "dataset" in given and os.path.exists(given["dataset"]):
        # So that the run can be resumed from another folder.
        given["dataset"] = os.path.abspath(given["dataset"])
    for name in ("source", "teacher"):
        if given.get(name) is not None:
            given[name] = os.path.abspath(given[name])
    if "teacher" in given and given["teacher"] is None:
        if "source" not in given:
            raise ValueError(
                "Expected a float model in --from for --teacher to be it. Received: --teacher without a "
                "file; name one, or give --from as well."
            )
        given["teacher"] = given["source"]
    config = _config(options)
    if options.resume and config is None and not given:
        raise ValueError(
            f"Expected a run to go on with in --out. Received: {options.out}, which has no run.toml; "
            "give the settings as well where the run may not have begun yet."
        )
    return TrainSettings.of(given) if config is None else TrainSettings.read(config, **given)


def _add(parser: Any, setting: Field[Any]) -> None:
    """Adds the option of a setting; what is not given is not in the namespace."""
    flag = setting.metadata.get("flag") or "--" + setting.name.replace("_", "-")
    kind = setting_types(TrainSettings)[setting.name]
    default = setting.default
    text = setting.metadata["help"].replace("%", "%%")
    if default is not None and default is not MISSING:
        shown = " ".join(default) if isinstance(default, tuple) else default
        text += f" (default: {shown})"
    common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text, "dest": setting.name}
    common |= {name: setting.metadata[name] for name in ("metavar", "nargs") if name in setting.metadata}
    item = number if kind.several and kind.item is float else kind.item
    if kind.item is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    elif kind.several and kind.length is None:
        parser.add_argument(flag, nargs="*", type=item, **common)
    elif kind.several:
        parser.add_argument(flag, nargs=kind.length, type=item, **common)
    else:
        parser.add_argument(flag, type=item, **common)


def _say(line: str) -> None:
    print(line, flush=True)
