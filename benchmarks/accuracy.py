"""Accuracy side by side: float, straight-through (ours and Larq's), and self-binarizing networks.

    python benchmarks/accuracy.py --preset tiny --datasets digits
    python benchmarks/accuracy.py --preset tiny --datasets mnist cifar10 --data-dir data
    python benchmarks/accuracy.py --methods ours approx --datasets mnist --data-dir data --seeds 3
    python benchmarks/accuracy.py --report --plot docs/images/accuracy.png
    KERAS_BACKEND=jax python benchmarks/accuracy.py --preset paper --networks birealnet18 --data-dir data

Every method trains the same architecture on the same images, in the same order, with the same
augmentation, optimizer (Adam, cosine decay) and number of epochs. Each has the same sweep of learning
rates with the first seed; the best on the validation images, never on the test images, is taken for all
seeds. What counts is the network of signs: it is folded, and the folded network classifies every test
image again.

A row is added to the file of results after every run, under a key that contains a hash of all settings; a
run whose row is there is not run again, so the benchmark goes on where it was interrupted, and several
processes can work on different methods.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accuracy_report import best_rate, plot, table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = HERE / "accuracy.csv"
COLUMNS = (
    "preset",
    "dataset",
    "network",
    "method",
    "learning_rate",
    "seed",
    "config",
    "epochs",
    "validation",
    "test",
    "validation_reestimated",
    "test_reestimated",
    "test_soft",
    "soft_unlike_hard",
    "folded_unlike_hard",
    "train_loss",
    "cpu_seconds",
    "backend",
)


@dataclass(frozen=True)
class Setting:
    """What all methods have in common on a data set.

    `train`, `validation` and `test` are numbers of images (`None`: all); `shift` and `flip` the
    augmentation, `half_size` whether 2 x 2 pixels are averaged, `learning_rates` the sweep, over
    `sweep_seeds` seeds.
    """

    dataset: str
    network: str
    epochs: int
    batch_size: int
    train: int | None
    validation: int
    seeds: int
    half_size: bool = False
    shift: int = 0
    flip: bool = False
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    test: int | None = None
    sweep_seeds: int = 1


# Raised when the order of the images of a seed changes, so that older rows count no longer.
_BATCHES = 2

#: `tiny` is for minutes of one core, `small` for an afternoon of two, `paper` for an accelerator.
PRESETS = {
    "tiny": (
        Setting("digits", "digits", 30, 32, None, 287, 5, sweep_seeds=5),
        Setting("mnist", "mnist", 10, 50, 10_000, 5_000, 3, half_size=True),
        Setting("cifar10", "vgg16", 10, 50, 10_000, 5_000, 3, half_size=True, shift=1, flip=True),
    ),
    "small": (
        Setting("digits", "digits", 100, 32, None, 287, 5, sweep_seeds=5),
        Setting("mnist", "mnist-small", 20, 50, 20_000, 5_000, 3, half_size=True),
        Setting("cifar10", "vgg32", 20, 50, 15_000, 5_000, 3, half_size=True, shift=1, flip=True),
    ),
    "paper": tuple(
        Setting("cifar10", network, 250, 50, None, 5_000, 3, False, 4, True, (1e-3, 3e-3, 1e-2))
        for network in ("binarynet", "birealnet18")
    ),
}


def config_hash(setting: Setting, method: Any) -> str:
    """Eight digits that change with every setting of a run but its learning rate and seed."""
    common = {
        k: v for k, v in asdict(setting).items() if k not in ("seeds", "learning_rates", "sweep_seeds")
    }
    parts = [_BATCHES, common, method.family, method.options, method.revision]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Results:
    """The rows of a CSV file, one a finished run, found by what was run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, str]]:
        """All rows."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def find(self, **wanted: Any) -> dict[str, str] | None:
        """The last row whose columns have these values."""
        keys = {key: str(value) for key, value in wanted.items()}
        for row in reversed(self.rows()):
            if all(row[key] == value for key, value in keys.items()):
                return row
        return None

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row, whole, also while other processes add theirs."""
        with self.path.open("a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


def learning_rates(rate: float, epochs: int) -> list[float]:
    """Cosine decay to 0, a step an epoch."""
    return [rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs)) for epoch in range(epochs)]


def run(
    setting: Setting, method: Any, rate: float, seed: int, data: Any, steps: int | None = None
) -> Any:
    """Trains once and returns the measured columns of the row.

    Args:
        setting: What to train on.
        method: A `Method`.
        rate: Learning rate at the start.
        seed: Seed of initial weights, order and augmentation.
        data: The images.
        steps: Batches an epoch, if not all.
    """
    import keras
    import numpy as np
    from accuracy_networks import build

    keras.utils.set_random_seed(seed)
    model = build(setting.network, method.kit(), data.shape)
    if method.family == "larq":
        return _run_larq(setting, method, rate, seed, data, model, steps)
    started = time.process_time()
    history = train(model, setting, method, rate, seed, data, steps)
    measured: dict[str, Any] = {
        "cpu_seconds": f"{time.process_time() - started:.1f}",
        "train_loss": f"{history.history['loss'][-1]:.4f}",
        "backend": keras.backend.backend(),
    }
    if method.family == "float":
        measured["validation"] = f"{share_right(model, *data.validation):.4f}"
        measured["test"] = f"{share_right(model, *data.test):.4f}"
        return measured
    if method.family == "ours":
        soft = classes(model, data.test[0])
        measured["test_soft"] = f"{np.mean(soft == data.test[1]):.4f}"
        hard = model
    else:
        soft = None
        hard = as_self_binarizing(model.get_weights(), setting, data.shape)
        differing = np.count_nonzero(classes(model, data.test[0]) != classes(hard, data.test[0]))
        if differing:
            raise RuntimeError(
                "Expected the straight-through network and the hard one with its weights to predict the "
                f"same. Received: {differing} test images on which they differ."
            )
    return {**measured, **_measure_hard(hard, data, soft)}


def train(
    model: Any, setting: Setting, method: Any, rate: float, seed: int, data: Any, steps: int | None = None
) -> Any:
    """Compiles and fits a network of Keras 3; returns the history."""
    import keras
    from accuracy_data import Batches

    from keras_sbn.callbacks import Sharpen

    class KerasBatches(Batches, keras.utils.PyDataset):
        pass

    model.compile(
        keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rates = learning_rates(rate, setting.epochs)
    batches = KerasBatches(*data.train, setting.batch_size, seed, setting.shift, setting.flip)
    callbacks: list[Any] = [
        keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]),
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.begin(epoch)),
    ]
    if method.family == "ours":
        # Left soft for now, so that it can be compared with the hard network.
        callbacks.append(Sharpen(binarize=False, **method.scheduling()))
    return model.fit(
        batches,
        epochs=setting.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


def _run_larq(
    setting: Setting, method: Any, rate: float, seed: int, data: Any, model: Any, steps: int | None
) -> dict[str, Any]:
    import numpy as np

    result = train_in_larq(setting, method, rate, seed, data, model.get_weights(), steps)
    weights = [result[f"weight_{i}"] for i in range(len(model.get_weights()))]
    hard = as_self_binarizing(weights, setting, data.shape)
    differing = np.count_nonzero(result["test"].argmax(-1) != classes(hard, data.test[0]))
    if differing:
        raise RuntimeError(
            "Expected Larq's network and the hard one with its weights to predict the same. Received: "
            f"{differing} test images on which they differ."
        )
    return {
        "cpu_seconds": f"{float(result['cpu_seconds']):.1f}",
        "train_loss": f"{result['loss'][-1]:.4f}",
        "backend": "tensorflow (Keras 2)",
        **_measure_hard(hard, data, None),
    }


def train_in_larq(
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    weights: Any,
    steps: int | None = None,
) -> dict[str, Any]:
    """Trains with Larq from given weights, in a process of its own; returns what it wrote."""
    import numpy as np

    job = {
        "network": setting.network,
        "activation": method.options["activation"],
        "learning_rates": learning_rates(rate, setting.epochs),
        "seed": seed,
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "steps": steps,
        "shift": setting.shift,
        "flip": setting.flip,
    }
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "job.npz", Path(folder) / "result.npz"
        np.savez(
            given,
            job=json.dumps(job),
            x=data.train[0],
            y=data.train[1],
            validation=data.validation[0],
            test=data.test[0],
            **{f"weight_{i}": weight for i, weight in enumerate(weights)},
        )
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "tensorflow"}
        subprocess.run(
            [sys.executable, str(HERE / "accuracy_larq.py"), str(given), str(written)],
            env={**environment, "PYTHONPATH": paths},
            check=True,
        )
        with np.load(written) as stored:
            return dict(stored)


def as_self_binarizing(weights: Any, setting: Setting, shape: tuple[int, ...]) -> Any:
    """A hard network of this package with a straight-through one's weights, so that fold takes it."""
    from accuracy_methods import OurKit
    from accuracy_networks import build

    import keras_sbn

    model = build(setting.network, OurKit(normalization="keras"), shape)
    targets = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    for target, value in zip(targets, weights, strict=True):
        target.assign(value)
    keras_sbn.binarize(model)
    return model


def _measure_hard(model: Any, data: Any, soft: Any) -> dict[str, Any]:
    """The columns of the binary network; `soft` are the soft one's classes of the test images."""
    import numpy as np

    import keras_sbn

    keras_sbn.binarize(model)
    measured = {}
    hard = classes(model, data.test[0])
    measured["validation"] = f"{share_right(model, *data.validation):.4f}"
    measured["test"] = f"{np.mean(hard == data.test[1]):.4f}"
    if soft is not None:
        measured["soft_unlike_hard"] = str(np.count_nonzero(soft != hard))
    folded = keras_sbn.fold(model)
    measured["folded_unlike_hard"] = str(np.count_nonzero(classes(folded, data.test[0]) != hard))
    keras_sbn.reestimate_batch_normalization(model, data.train[0][:5000], batch_size=500)
    measured["validation_reestimated"] = f"{share_right(model, *data.validation):.4f}"
    measured["test_reestimated"] = f"{share_right(model, *data.test):.4f}"
    return measured


def classes(model: Any, images: Any) -> Any:
    """The classes that a network says."""
    return model.predict(images, batch_size=500, verbose=0).argmax(-1)


def share_right(model: Any, images: Any, labels: Any) -> float:
    """The accuracy."""
    return float((classes(model, images) == labels).mean())


def run_if_missing(
    results: Results,
    preset: str,
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    steps: int | None = None,
) -> dict[str, str]:
    """Returns the row of a run, from the file or after running it."""
    key = {
        "preset": preset,
        "dataset": setting.dataset,
        "network": setting.network,
        "method": method.name,
        "learning_rate": f"{rate:g}",
        "seed": seed,
        "config": config_hash(setting, method),
    }
    found = results.find(**key)
    if found is None:
        row = {**key, "epochs": setting.epochs, **run(setting, method, rate, seed, data, steps)}
        results.append(row)
        found = {column: str(row.get(column, "")) for column in COLUMNS}
        print(
            f"{preset} {setting.dataset} {setting.network} {method.name} learning rate {rate:g} seed "
            f"{seed}: validation {found['validation']} test {found['test']} "
            f"({found['cpu_seconds']} s)",
            flush=True,
        )
    return found


def sweep_and_run(
    results: Results, preset: str, setting: Setting, method: Any, seeds: int, data: Any
) -> None:
    """The sweep of learning rates with the first seeds, then the other seeds with the best."""
    swept = range(min(seeds, setting.sweep_seeds))
    sweep = {
        f"{rate:g}": {
            str(seed): run_if_missing(results, preset, setting, method, rate, seed, data)
            for seed in swept
        }
        for rate in setting.learning_rates
    }
    best = float(best_rate(sweep))
    for seed in range(len(swept), seeds):
        run_if_missing(results, preset, setting, method, best, seed, data)


def available(name: str, family: str) -> bool:
    """Whether what the method needs is installed; says so where it is not."""
    if family == "larq" and not all(importlib.util.find_spec(m) for m in ("larq", "tf_keras")):
        print(f"{name} is left out: it needs larq and tf-keras (pip install 'keras-sbn[larq]')")
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--datasets", nargs="+", choices=("digits", "mnist", "cifar10"))
    parser.add_argument("--networks", nargs="+", help="only these networks of the preset")
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=int, help="default: 5 for the digits, 3 for the others")
    parser.add_argument("--learning-rates", nargs="+", type=float, help="the sweep, if another")
    parser.add_argument("--data-dir", help="folder of local files; without it, tensorflow-datasets")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--try-steps", type=int, help="train so many steps, to see that it works; adds no row"
    )
    parser.add_argument("--report", action="store_true", help="print the table; run nothing")
    parser.add_argument("--plot", type=Path, help="with --report, also draw it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, or reports."""
    given = _parser().parse_args(arguments)
    if given.report:
        rows = Results(given.results).rows()
        print(table(rows, given.preset))
        if given.plot:
            plot(rows, given.preset, given.plot)
        return
    from accuracy_data import load
    from accuracy_methods import METHODS

    unknown = sorted(set(given.methods or ()) - set(METHODS))
    if unknown:
        raise SystemExit(f"Expected methods of {', '.join(METHODS)}. Received: {', '.join(unknown)}")
    methods = [METHODS[name] for name in given.methods or METHODS]
    methods = [method for method in methods if available(method.name, method.family)]
    results = Results(given.results)
    for setting in PRESETS[given.preset]:
        if given.datasets and setting.dataset not in given.datasets:
            continue
        if given.networks and setting.network not in given.networks:
            continue
        changes: dict[str, Any] = {}
        if given.learning_rates:
            changes["learning_rates"] = tuple(given.learning_rates)
        if given.try_steps:
            images = given.try_steps * setting.batch_size
            changes.update(epochs=1, train=images, test=100, validation=100)
        setting = Setting(**{**asdict(setting), **changes})
        data = load(
            setting.dataset,
            given.data_dir,
            train=setting.train,
            validation=setting.validation,
            half_size=setting.half_size,
            test=setting.test,
        )
        for method in methods:
            if given.try_steps:
                rate = setting.learning_rates[0]
                measured = run(setting, method, rate, 0, data, given.try_steps)
                print(setting.network, method.name, measured, flush=True)
                continue
            sweep_and_run(results, given.preset, setting, method, given.seeds or setting.seeds, data)


if __name__ == "__main__":
    main()
