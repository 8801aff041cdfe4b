"""Presets of the accuracy benchmark on an accelerator, in pieces.

    python benchmarks/accelerator/run.py --data-dir PACK --minutes 9
    python benchmarks/accelerator/run.py --data-dir PACK --preset medium --methods ours nu-100 hard-start
    python benchmarks/accelerator/run.py --data-dir PACK --time 100

The same command goes on from the checkpoint that the piece before has left in `--folder`, until all runs
are done; a finished run adds a row to `rows.csv` there, in the columns of `benchmarks/accuracy.csv`, and
leaves its network in `<run>.npz`. As in `accuracy.py`, the first seed runs at every learning rate of the
preset and the others at the one that is best on validation images. What XLA compiles is kept in
`--folder`, or where JAX_COMPILATION_CACHE_DIR says: the seeds and rates of a method share it, and so do
the pieces. Needs JAX, Keras and this package (benchmarks/accelerator/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import keras
import numpy as np
from accuracy import METHODS_OF, PRESETS, Results, Setting, key_of, measure, own_weights, sweep
from accuracy_data import load
from accuracy_methods import METHODS
from accuracy_networks import CHAINS, RESIDUAL, build
from accuracy_pieces import OUT_OF_TIME, Deadline, OutOfTimeError
from on_device import DeviceTraining
from straight_through import StraightThroughConv2D, StraightThroughDense

from keras_sbn.layers.base import SelfBinarizingKernelLayer

OUT = Path(__file__).resolve().parent.parent.parent / "out" / "accelerator"
#: Raised when order or augmentation on the device changes, so that older rows count no longer.
_REVISION = 1
_ROUNDS = 5


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data-dir", required=True, help="folder with CIFAR-10, as `pack.py` leaves it")
    made.add_argument("--folder", type=Path, default=OUT / "runs", help="checkpoints, rows and log")
    made.add_argument("--preset", choices=("medium", "full", "paper"), default="paper")
    made.add_argument(
        "--networks", nargs="+", choices=(*CHAINS, *RESIDUAL), help="default: those of the preset"
    )
    made.add_argument("--methods", nargs="+", choices=METHODS, help="default: those of the preset, ours")
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
    keras.config.set_dtype_policy(given.policy)
    given.folder.mkdir(parents=True, exist_ok=True)
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(given.folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    sitting = Sitting(given, deadline)
    for setting in settings_of(given):
        data = load(
            setting.dataset,
            given.data_dir,
            train=setting.train,
            validation=given.validation or setting.validation,
            half_size=False,
            test=setting.test,
        )
        methods = [METHODS[name] for name in given.methods or METHODS_OF.get(given.preset, ("ours",))]
        # Larq runs under Keras 2, in `accuracy.py`.
        methods = [method for method in methods if method.family != "larq"]
        if given.time:
            time_steps(setting, methods, given, data)
            continue
        for method in methods:
            row_of = partial(sitting.row_of, setting, method, data)
            try:
                sweep(setting, given.seeds or setting.seeds, row_of)
            except OutOfTimeError:
                print("The time is over. The same command goes on from here.", flush=True)
                return OUT_OF_TIME
    return 0


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


def training(setting: Any, method: Any, seed: int, rate: float, data: Any) -> DeviceTraining:
    """A training at its start."""
    keras.utils.set_random_seed(seed)
    model = build(setting.network, method.kit(), data.shape)
    return DeviceTraining(model, setting, method, rate, seed, data)


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
        """The row of a run, after training it where there is none.

        Raises:
            OutOfTimeError: If the time is over.
        """
        given = self._given
        key = key_of(given.preset, setting, method, rate, seed)
        key["config"] += f"-{given.policy}-{_REVISION}"
        found = self._results.find(**key)
        if found is not None:
            return found
        if self._trained:
            self._deadline.check()
        self._trained = True
        name = "-".join(str(part) for part in key.values())
        checkpoint = given.folder / f"{name}.checkpoint.npz"
        began = time.monotonic()

        def log(**values: Any) -> None:
            with (given.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({"run": name, **values}) + "\n")
            print(
                f"{setting.network} {method.name} {rate:g} seed {seed}: epoch {values['epoch']} of "
                f"{setting.epochs}, loss {values['loss']:.4f}, {values['seconds']:.1f} s",
                flush=True,
            )

        trained = training(setting, method, seed, rate, data)
        trained.run(checkpoint, self._deadline, log)
        arrays = signs_of_kernels(trained.model)
        stored = {f"weight_{i}": array for i, array in enumerate(arrays)}
        np.savez_compressed(given.folder / f"{name}.npz", **stored)
        row = {
            **key,
            "epochs": setting.epochs,
            "train_loss": f"{trained.losses[-1]:.4f}",
            "cpu_seconds": f"{trained.seconds:.1f}",
            "backend": f"jax ({jax.devices()[0].device_kind}; seconds on the wall)",
            **measure(trained.model, setting, method, data),
        }
        self._results.append(row)
        checkpoint.unlink(missing_ok=True)
        print(
            f"{name}: validation {row['validation']} test {row['test']}, "
            f"{time.monotonic() - began:.0f} s with what is compiled and measured",
            flush=True,
        )
        return row


def signs_of_kernels(model: Any) -> list[np.ndarray]:
    """All weights for `accuracy.as_self_binarizing`; latent kernels as signs, in int8."""
    binary = (SelfBinarizingKernelLayer, StraightThroughConv2D, StraightThroughDense)
    latent = {id(layer.kernel) for layer in model.layers if isinstance(layer, binary)}
    weights = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    return [
        np.where(array >= 0, 1, -1).astype("int8") if id(weight) in latent else array
        for weight, array in zip(weights, own_weights(model), strict=True)
    ]


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
