"""Presets of the accuracy benchmark on an accelerator, in pieces.

    python benchmarks/accelerator/run.py --data-dir PACK --minutes 9
    python benchmarks/accelerator/run.py --data-dir PACK --preset full --workers 14 --train-only
    python benchmarks/accelerator/run.py --data-dir PACK --preset full --measure
    python benchmarks/accelerator/run.py --data-dir PACK --time 100

The same command goes on from the checkpoint that the piece before has left in `--folder`, until all runs
are done. A finished run leaves its network in `<run>.npz` and adds a row to `rows.csv` there, in the
columns of `benchmarks/accuracy.csv`. With `--train-only` it adds no row: `--measure` does so later, on
any machine, for all networks that are there. As in `accuracy.py`, the first seed runs at every learning
rate of the preset and the others at the one that is best on validation images. Small networks leave most
of an accelerator idle; `--workers` trains several at once, each method of a network in one process.

What XLA compiles is kept in `--folder`, or where JAX_COMPILATION_CACHE_DIR says: the seeds and rates of a
method share it, and so do the pieces. Needs JAX, Keras and this package
(benchmarks/accelerator/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import keras
import numpy as np
from accuracy import (
    METHODS_OF,
    PRESETS,
    Results,
    Setting,
    as_self_binarizing,
    key_of,
    measure,
    measure_hard,
    signs_of_kernels,
    sweep,
)
from accuracy_data import load
from accuracy_methods import METHODS, RECIPES, with_recipe
from accuracy_networks import CHAINS, RESIDUAL, build
from accuracy_pieces import OUT_OF_TIME, Deadline, OutOfTimeError
from on_device import DeviceTraining

OUT = Path(__file__).resolve().parent.parent.parent / "out" / "accelerator"
#: Raised when order or augmentation on the device changes, so that older rows count no longer.
_REVISION = 2
_ROUNDS = 5
#: About how long a step of a network takes beside others, to share the runs among processes.
_COST = {"binarynet-4": 1.2, "resnet20": 2.5, "binarynet": 10.0, "birealnet18": 20.0}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data-dir", required=True, help="folder with the images, as `pack.py` leaves it")
    made.add_argument("--folder", type=Path, default=OUT / "runs", help="checkpoints, rows and log")
    made.add_argument("--preset", choices=PRESETS, default="paper")
    made.add_argument(
        "--networks", nargs="+", choices=(*CHAINS, *RESIDUAL), help="default: those of the preset"
    )
    made.add_argument("--methods", nargs="+", choices=METHODS, help="default: those of the preset, ours")
    made.add_argument(
        "--recipe", nargs="+", choices=RECIPES, default=(), help="parts of recipes, for every method"
    )
    made.add_argument(
        "--learning-rates", nargs="+", type=float, help="the sweep; default: that of the preset"
    )
    made.add_argument("--seeds", type=int, help="how many; default: as the preset has")
    made.add_argument("--epochs", type=int, help="default: those of the preset")
    made.add_argument("--batch-size", type=int, help="default: that of the preset")
    made.add_argument("--train", type=int, help="number of training images, to try it")
    made.add_argument("--validation", type=int, help="number of validation images, to try it")
    made.add_argument("--test", type=int, help="number of test images, to try it")
    made.add_argument("--minutes", type=float, help="stop after so many, and return 75")
    made.add_argument("--policy", default="float32", help="dtype policy of Keras")
    made.add_argument("--train-only", action="store_true", help="leave the rows to --measure")
    made.add_argument("--measure", action="store_true", help="add the rows of all finished networks")
    made.add_argument("--quick", action="store_true", help="measure nothing but the accuracy")
    made.add_argument("--workers", type=int, default=1, help="processes side by side")
    made.add_argument("--share", type=int, nargs=2, metavar=("I", "N"), help="only part I of N, from 0")
    made.add_argument("--time", type=int, metavar="STEPS", help="only measure steps of every method")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Trains what is missing."""
    made = parser()
    given = made.parse_args(arguments)
    try:
        deadline = Deadline(given.minutes)
    except ValueError as error:
        made.error(str(error))
    # What is measured is the finished network, in float32.
    keras.config.set_dtype_policy("float32" if given.measure else given.policy)
    given.folder.mkdir(parents=True, exist_ok=True)
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(given.folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    settings = settings_of(given)
    if given.workers > 1 and not given.share:
        data_of(settings[0], given)  # decoded once, for all of them
        return side_by_side(given.workers, sys.argv[1:] if arguments is None else arguments)
    if given.time:
        for setting in settings:
            time_steps(setting, methods_of(given), given, data_of(setting, given))
        return 0
    sitting = Sitting(given, deadline)
    units = [(setting, method) for setting in settings for method in methods_of(given)]
    if given.share:
        units = share_of(units, *given.share)
    for setting, method in units:
        data = data_of(setting, given)
        row_of = partial(sitting.row_of, setting, method, data)
        seeds = given.seeds or setting.seeds
        if given.measure:
            for rate in setting.learning_rates:
                for seed in range(seeds):
                    sitting.measured(setting, method, data, rate, seed)
            continue
        try:
            sweep(setting, seeds, row_of)
        except OutOfTimeError:
            print("The time is over. The same command goes on from here.", flush=True)
            return OUT_OF_TIME
    return 0


@cache
def _load(
    dataset: str, data_dir: str, train: int | None, validation: int, half_size: bool, test: int | None
) -> Any:
    return load(dataset, data_dir, train=train, validation=validation, half_size=half_size, test=test)


def data_of(setting: Setting, given: argparse.Namespace) -> Any:
    """The images of a setting, read once."""
    validation = given.validation or setting.validation
    images = (setting.train, validation, setting.half_size, setting.test)
    return _load(setting.dataset, given.data_dir, *images)


def methods_of(given: argparse.Namespace) -> list[Any]:
    """The methods that were asked for."""
    names = given.methods or METHODS_OF.get(given.preset, ("ours",))
    # Larq runs under Keras 2, in `accuracy.py`.
    chosen = [METHODS[name] for name in names if METHODS[name].family != "larq"]
    return [with_recipe(method, tuple(given.recipe)) for method in chosen]


def share_of(units: list[Any], part: int, parts: int) -> list[Any]:
    """A part of the settings with their methods, of about the same time; equal steps stay together."""
    ordered = sorted(units, key=lambda unit: (unit[0].network, unit[1].graph))
    costs = [_COST.get(setting.network, 1.0) * setting.epochs for setting, _ in ordered]
    middles = np.cumsum(costs) - np.asarray(costs) / 2
    own = (middles * parts / sum(costs)).astype(int) == part
    return [unit for unit, mine in zip(ordered, own, strict=True) if mine]


def side_by_side(workers: int, arguments: Sequence[str]) -> int:
    """Runs the command in several processes, each with its share; returns what the worst returned."""
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, arguments)]
    running = [
        subprocess.Popen([*command, "--share", str(part), str(workers)], env=environment)
        for part in range(workers)
    ]
    returned = [process.wait() for process in running]
    failed = [code for code in returned if code not in (0, OUT_OF_TIME)]
    return failed[0] if failed else max(returned)


def settings_of(given: argparse.Namespace) -> list[Setting]:
    """The settings of the preset, with what the command line changes."""
    preset = {setting.network: setting for setting in PRESETS[given.preset]}
    other = replace(PRESETS[given.preset][0], validation=given.validation or 5_000)
    changes = {
        "epochs": given.epochs,
        "batch_size": given.batch_size,
        "train": given.train,
        "test": given.test,
        "learning_rates": given.learning_rates and tuple(given.learning_rates),
    }
    asked = {key: value for key, value in changes.items() if value}
    return [
        replace(preset.get(network, other), network=network, **asked)
        for network in given.networks or preset
    ]


def training(
    setting: Any, method: Any, seed: int, rate: float, data: Any, scans: bool | None = None
) -> DeviceTraining:
    """A training at its start."""
    keras.utils.set_random_seed(seed)
    model = build(setting.network, method.kit(), data.shape)
    return DeviceTraining(model, setting, method, rate, seed, data, scans=scans)


class Sitting:
    """One call of the command: where its runs are kept, and until when it goes on.

    Args:
        given: The command line.
        deadline: Its end. Every call trains for one epoch at least.
    """

    def __init__(self, given: argparse.Namespace, deadline: Deadline) -> None:
        self._given, self._deadline = given, deadline
        self._results = Results(given.folder / "rows.csv")
        self._trained = False

    def row_of(self, setting: Setting, method: Any, data: Any, rate: float, seed: int) -> dict[str, str]:
        """The row of a run, after training it where there is none; with `--train-only` its validation.

        Raises:
            OutOfTimeError: If the time is over.
        """
        key = self._key(setting, method, rate, seed)
        found = self._results.find(**key)
        if found is not None:
            return found
        network = self._network(key)
        if not network.exists():
            if self._trained:
                self._deadline.check()
            self._trained = True
            self._train(key, setting, method, data, rate, seed)
        if not self._given.train_only:
            return self.measured(setting, method, data, rate, seed)
        with np.load(network) as stored:
            return {"validation": json.loads(str(stored["known"]))["validation"]}

    def _key(self, setting: Setting, method: Any, rate: float, seed: int) -> dict[str, Any]:
        key = key_of(self._given.preset, setting, method, rate, seed)
        return {**key, "config": f"{key['config']}-{self._given.policy}-{_REVISION}"}

    def _network(self, key: dict[str, Any]) -> Path:
        return Path(self._given.folder / f"{'-'.join(str(part) for part in key.values())}.npz")

    def _train(
        self, key: dict[str, Any], setting: Setting, method: Any, data: Any, rate: float, seed: int
    ) -> None:
        """Trains a network and writes it."""
        given, path = self._given, self._network(key)
        checkpoint = path.with_suffix(".checkpoint.npz")
        began = time.monotonic()

        def log(**values: Any) -> None:
            with (given.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({"run": path.stem, **values}) + "\n")
            if not given.share:
                print(
                    f"{setting.network} {method.name} {rate:g} seed {seed}: epoch {values['epoch']} of "
                    f"{setting.epochs}, loss {values['loss']:.4f}, {values['seconds']:.1f} s",
                    flush=True,
                )

        trained = training(setting, method, seed, rate, data)
        trained.run(checkpoint, self._deadline, log)
        workers = given.share[1] if given.share else 1
        known = {
            "train_loss": f"{trained.losses[-1]:.4f}",
            "cpu_seconds": f"{trained.seconds:.1f}",
            "backend": f"jax ({jax.devices()[0].device_kind}, {workers} at once; seconds on the wall)",
            "validation": f"{trained.share_right(*data.validation):.4f}",
            "sharpness": sharpness_of(trained.model),
        }
        arrays = {f"weight_{i}": array for i, array in enumerate(signs_of_kernels(trained.model))}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, known=json.dumps(known), **arrays)
        os.replace(unfinished, path)
        checkpoint.unlink(missing_ok=True)
        print(
            f"{path.stem}: loss {known['train_loss']}, validation {known['validation']}, "
            f"{trained.seconds:.0f} s, {time.monotonic() - began:.0f} s with what is compiled",
            flush=True,
        )

    def measured(
        self, setting: Setting, method: Any, data: Any, rate: float, seed: int
    ) -> dict[str, str]:
        """The row of a finished network, after measuring it where there is none; else nothing."""
        key = self._key(setting, method, rate, seed)
        found = self._results.find(**key)
        network = self._network(key)
        if found is not None or not network.exists():
            return found or {}
        with np.load(network) as stored:
            known = json.loads(str(stored["known"]))
            weights = [stored[f"weight_{i}"] for i in range(len(stored.files) - 1)]
        row = {
            **key,
            "epochs": setting.epochs,
            **{name: known[name] for name in ("train_loss", "cpu_seconds", "backend")},
            **measure_weights(weights, known["sharpness"], setting, method, data, self._given.quick),
        }
        self._results.append(row)
        print(
            f"{network.stem}: validation {row['validation']} (there {known['validation']}), "
            f"test {row['test']}",
            flush=True,
        )
        return row


def sharpness_of(model: Any) -> list[float]:
    """The values of the sharpness weights, in their order."""
    weights = (weight for weight in model.weights if weight.name.endswith("_sharpness"))
    return [float(keras.ops.convert_to_numpy(weight)) for weight in weights]


def measure_weights(
    weights: list[np.ndarray],
    sharpness: list[float],
    setting: Setting,
    method: Any,
    data: Any,
    quick: bool = False,
) -> dict[str, Any]:
    """The measured columns of a network from the arrays of its file."""
    if method.family not in ("float", "ours"):
        hard = as_self_binarizing(weights, setting, data.shape, method)
        return measure_hard(hard, data, quick=quick)
    model = build(setting.network, method.kit(), data.shape)
    others = iter(weights)
    given = iter(sharpness)
    for variable in model.weights:
        variable.assign(next(given if variable.name.endswith("_sharpness") else others))
    return measure(model, setting, method, data, quick)


def time_steps(setting: Setting, methods: list[Any], given: argparse.Namespace, data: Any) -> None:
    """Prints the time of a step of every method, beside the first; they take turns."""
    setting = replace(setting, epochs=10**6)
    small = type(data)(
        tuple(part[: given.time * setting.batch_size] for part in data.train), data.validation, data.test
    )
    trainings = {
        method.name: training(setting, method, 0, setting.learning_rates[0], small) for method in methods
    }
    for one in trainings.values():
        one.run_epoch()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(_ROUNDS):
        for name, one in trainings.items():
            started = time.perf_counter()
            one.run_epoch()
            seconds[name].append((time.perf_counter() - started) / one.steps)
    first = seconds[methods[0].name]
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        print(
            f"{setting.network} batch {setting.batch_size} {name}: "
            f"{1000 * statistics.median(values):.2f} ms a step, {ratio:.3f} of {methods[0].name}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
