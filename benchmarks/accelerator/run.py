"""The `paper` preset of the accuracy benchmark on an accelerator, in pieces.

    python benchmarks/accelerator/run.py --data-dir out/accelerator/pack --minutes 9
    python benchmarks/accelerator/run.py --data-dir out/accelerator/pack --time 100

The same command goes on from the checkpoint that the piece before has left in `--folder`, until all runs
are done; a finished run adds a row to `rows.csv` there, in the columns of `benchmarks/accuracy.csv`, and
leaves its network in `<run>.npz`. Needs JAX, Keras and this package (benchmarks/accelerator/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import keras
import numpy as np
from accuracy import PRESETS, Results, config_hash, measure, own_weights
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
    made.add_argument(
        "--networks", nargs="+", choices=(*CHAINS, *RESIDUAL), default=["binarynet", "birealnet18"]
    )
    made.add_argument("--methods", nargs="+", choices=METHODS, default=["ours", "approx"])
    made.add_argument("--learning-rate", type=float, default=3e-3)
    made.add_argument("--seeds", nargs="+", type=int, default=[0])
    made.add_argument("--epochs", type=int, help="default: those of the preset")
    made.add_argument("--batch-size", type=int, default=256)
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
    trained = False
    for network in given.networks:
        setting = replace(PRESETS["paper"][0], network=network)
        data = load(
            setting.dataset,
            given.data_dir,
            train=given.train,
            validation=given.validation or setting.validation,
            half_size=False,
            test=given.test,
        )
        changes = {"train": given.train, "test": given.test, "batch_size": given.batch_size}
        setting = replace(setting, epochs=given.epochs or setting.epochs, **changes)
        if given.time:
            time_steps(setting, given, data)
            continue
        for name in given.methods:
            for seed in given.seeds:
                try:
                    if trained:  # Every call trains for one epoch at least.
                        deadline.check()
                    trained |= run(setting, METHODS[name], seed, given, data, deadline)
                except OutOfTimeError:
                    print("The time is over. The same command goes on from here.", flush=True)
                    return OUT_OF_TIME
    return 0


def training(setting: Any, method: Any, seed: int, rate: float, data: Any) -> DeviceTraining:
    """A training at its start."""
    keras.utils.set_random_seed(seed)
    model = build(setting.network, method.kit(), data.shape)
    return DeviceTraining(model, setting, method, rate, seed, data)


def run(setting: Any, method: Any, seed: int, given: Any, data: Any, deadline: Deadline) -> bool:
    """Trains and adds a row, unless it is there; returns whether it was not."""
    key = {
        "preset": "paper",
        "dataset": setting.dataset,
        "network": setting.network,
        "method": method.name,
        "learning_rate": f"{given.learning_rate:g}",
        "seed": seed,
        "config": f"{config_hash(setting, method)}-{given.policy}-{_REVISION}",
    }
    results = Results(given.folder / "rows.csv")
    if results.find(**key) is not None:
        return False
    name = "-".join(str(part) for part in key.values())
    checkpoint = given.folder / f"{name}.checkpoint.npz"

    def log(**values: Any) -> None:
        with (given.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({"run": name, **values}) + "\n")
        print(
            f"{setting.network} {method.name} seed {seed}: epoch {values['epoch']} of {setting.epochs}, "
            f"loss {values['loss']:.4f}, {values['seconds']:.1f} s",
            flush=True,
        )

    trained = training(setting, method, seed, given.learning_rate, data)
    trained.run(checkpoint, deadline, log)
    arrays = signs_of_kernels(trained.model)
    np.savez_compressed(given.folder / f"{name}.npz", **{f"weight_{i}": a for i, a in enumerate(arrays)})
    row = {
        **key,
        "epochs": setting.epochs,
        "train_loss": f"{trained.losses[-1]:.4f}",
        "cpu_seconds": f"{trained.seconds:.1f}",
        "backend": f"jax ({jax.devices()[0].device_kind}; seconds on the wall)",
        **measure(trained.model, setting, method, data),
    }
    results.append(row)
    checkpoint.unlink(missing_ok=True)
    print(f"{name}: validation {row['validation']} test {row['test']}", flush=True)
    return True


def signs_of_kernels(model: Any) -> list[np.ndarray]:
    """All weights for `accuracy.as_self_binarizing`; latent kernels as signs, in int8."""
    binary = (SelfBinarizingKernelLayer, StraightThroughConv2D, StraightThroughDense)
    latent = {id(layer.kernel) for layer in model.layers if isinstance(layer, binary)}
    weights = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    return [
        np.where(array >= 0, 1, -1).astype("int8") if id(weight) in latent else array
        for weight, array in zip(weights, own_weights(model), strict=True)
    ]


def time_steps(setting: Any, given: Any, data: Any) -> None:
    """Prints the time of a step of every method, beside the first; they take turns."""
    setting = replace(setting, epochs=10**6)
    small = type(data)(
        tuple(part[: given.time * setting.batch_size] for part in data.train), data.validation, data.test
    )
    trainings = {
        name: training(setting, METHODS[name], 0, given.learning_rate, small) for name in given.methods
    }
    for one in trainings.values():
        one.run_epoch()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(_ROUNDS):
        for name, one in trainings.items():
            started = time.perf_counter()
            one.run_epoch()
            seconds[name].append((time.perf_counter() - started) / one.steps)
    first = seconds[given.methods[0]]
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        print(
            f"{setting.network} batch {setting.batch_size} {name}: "
            f"{1000 * statistics.median(values):.2f} ms a step, {ratio:.3f} of {given.methods[0]}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
