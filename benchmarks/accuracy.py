"""Accuracy side by side: float, straight-through (ours and Larq's), and self-binarizing networks.

    python benchmarks/accuracy.py --preset tiny --datasets digits
    python benchmarks/accuracy.py --preset tiny --datasets mnist cifar10 --data-dir data
    python benchmarks/accuracy.py --methods ours approx --datasets mnist --data-dir data --seeds 3
    python benchmarks/accuracy.py --report --plot docs/images/accuracy.png
    python benchmarks/accuracy.py --preset full --data-dir data --minutes 55

Every method trains the same architecture on the same images, in the same order, with the same
augmentation, optimizer (Adam, cosine decay) and number of epochs. Each has the same sweep of learning
rates with the first seed; the best on the validation images, never on the test images, is taken for all
seeds. What counts is the network of signs: it is folded, and the folded network classifies every test
image again.

A row is added to the file of results after every run, under a key that contains a hash of all settings;
a run whose row is there is not run again. A run is kept after every epoch (`--checkpoints`) and goes on
from there: stop the benchmark when you like, or after `--minutes`, and give the same command again.
Several processes can work on different methods.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accuracy_pieces import OUT_OF_TIME, Deadline, OutOfTimeError, Pieces, fit_in_pieces, restore
from accuracy_report import best_rate, plot, table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = HERE / "accuracy.csv"
CHECKPOINTS = ROOT / "out" / "accuracy"
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

#: `tiny` is for minutes of one core, `small` for an afternoon of two. `medium` is the first with whole
#: images, for comparing schedules; `full` has all images of CIFAR-10 (45,000, and 5,000 for validation)
#: and of MNIST, about an hour of one core for each run; `paper` is for an accelerator
#: (`benchmarks/accelerator`).
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
    "medium": (Setting("cifar10", "binarynet-8", 15, 50, 20_000, 5_000, 3, shift=2, flip=True),),
    "full": (
        *(
            Setting("cifar10", network, epochs, 128, None, 5_000, 3, False, 4, True, (3e-3, 1e-2))
            for network, epochs in (("binarynet-8", 40), ("binarynet-4", 20), ("resnet20", 20))
        ),
        Setting("mnist", "mnist-small", 15, 128, None, 5_000, 3, learning_rates=(3e-3, 1e-2)),
    ),
    "paper": tuple(
        Setting("cifar10", network, 250, 256, None, 5_000, 3, False, 4, True, (1e-3, 3e-3, 1e-2))
        for network in ("binarynet", "birealnet18")
    ),
}


#: The methods of a preset, where none are named; of the others all.
METHODS_OF = {
    "full": ("ours", "approx", "ste", "larq-ste", "float-relu"),
    "paper": ("ours", "approx"),
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


def one_cycle(rate: float, epochs: int) -> list[float]:
    """From a tenth of the rate up in equal steps for 30 % of the epochs, then cosine decay to 0.

    The learning rate alone of "Super-Convergence" (Smith and Topin, arXiv 1708.07120); momentum stays.
    """
    rising, tenth = 0.3 * epochs, rate / 10
    return [
        tenth + (rate - tenth) * epoch / rising
        if epoch < rising
        else rate * 0.5 * (1 + math.cos(math.pi * (epoch - rising) / (epochs - rising)))
        for epoch in range(epochs)
    ]


def rates_of(setting: Setting, method: Any, rate: float) -> list[float]:
    """The learning rate of every epoch: cosine decay or one cycle, times what the method says."""
    rates = (one_cycle if "one-cycle" in method.recipe else learning_rates)(rate, setting.epochs)
    return [one * method.rate_factor(epoch / setting.epochs) for epoch, one in enumerate(rates)]


def run(
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    steps: int | None = None,
    pieces: Pieces | None = None,
) -> Any:
    """Trains once and returns the measured columns of the row.

    Args:
        setting: What to train on.
        method: A `Method`.
        rate: Learning rate at the start.
        seed: Seed of initial weights, order and augmentation.
        data: The images.
        steps: Batches an epoch, if not all.
        pieces: Where the run is kept, and until when it goes on.

    Raises:
        OutOfTimeError: At the end of an epoch, if the time is over.
    """
    import keras
    from accuracy_networks import build

    keras.utils.set_random_seed(seed)
    model = build(setting.network, method.kit(), data.shape)
    pieces = pieces or Pieces()
    if method.family == "larq":
        return _run_larq(setting, method, rate, seed, data, model, steps, pieces)
    state = train(model, setting, method, rate, seed, data, steps, pieces)
    return {
        "cpu_seconds": f"{state.cpu_seconds:.1f}",
        "train_loss": f"{state.losses[-1]:.4f}",
        "backend": keras.backend.backend(),
        **measure(model, setting, method, data),
    }


def measure(model: Any, setting: Setting, method: Any, data: Any, quick: bool = False) -> dict[str, Any]:
    """The columns of a trained network of Keras 3: of its signs, where the method has signs.

    With `quick` those of the network as it is, a binary one as the file of the folded network: nothing is
    compared, no statistics estimated again.
    """
    import numpy as np

    if method.family == "float":
        return _measure(model, data, classes(model, data.test[0]), quick)
    if method.family == "ours":
        if all(layer.is_hard for layer in model.layers if hasattr(layer, "is_hard")):
            measured = measure_hard(model, data, quick=quick)
            return {"test_soft": measured["test"], "soft_unlike_hard": "0", **measured}
        soft = classes(model, data.test[0])
        share = f"{np.mean(soft == data.test[1]):.4f}"
        return {"test_soft": share, **measure_hard(model, data, soft, quick)}
    hard = as_self_binarizing(signs_of_kernels(model), setting, data.shape, method)
    differing = np.count_nonzero(classes(model, data.test[0]) != classes(hard, data.test[0]))
    if differing:
        raise RuntimeError(
            "Expected the straight-through network and the hard one with its weights to predict the "
            f"same. Received: {differing} test images on which they differ."
        )
    return measure_hard(hard, data)


def train(
    model: Any,
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    steps: int | None = None,
    pieces: Pieces | None = None,
) -> Any:
    """Compiles and fits a network of Keras 3, from where it was; returns the `accuracy_pieces.State`."""
    import keras
    from accuracy_data import Batches

    from keras_sbn.callbacks import Sharpen

    class KerasBatches(Batches, keras.utils.PyDataset):
        pass

    model.compile(
        keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    pieces = pieces or Pieces()
    state = pieces.load()
    restore(model, state)
    if state.epoch == setting.epochs:
        return state
    rates = rates_of(setting, method, rate)
    batches = KerasBatches(*data.train, setting.batch_size, seed, setting.shift, setting.flip)
    callbacks: list[Any] = [
        keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch]),
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.begin(epoch)),
    ]
    if method.sharpens:
        # Left soft for now, so that it can be compared with the hard network.
        scheduling = {**method.scheduling(), "state_path": pieces.sharpening}
        callbacks.append(Sharpen(binarize=False, **scheduling))
    callbacks.append(fit_in_pieces(keras, pieces, state))
    model.fit(
        batches,
        epochs=setting.epochs,
        initial_epoch=state.epoch,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return state


def _run_larq(
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    model: Any,
    steps: int | None,
    pieces: Pieces,
) -> dict[str, Any]:
    import numpy as np
    from accuracy_networks import RESIDUAL

    result = train_in_larq(setting, method, rate, seed, data, model.get_weights(), steps, pieces)
    weights = [result[f"weight_{i}"] for i in range(len(model.get_weights()))]
    hard = as_self_binarizing(weights, setting, data.shape, method)
    differing = np.count_nonzero(result["test"].argmax(-1) != classes(hard, data.test[0]))
    # Float layers add in another order in Keras 2, and signs of their sums can fall the other way, as in
    # folded networks: 4 of 10,000 images are the most that was seen there.
    most = 4 * len(data.test[0]) // 10_000 if setting.network in RESIDUAL else 0
    if differing > most:
        raise RuntimeError(
            "Expected Larq's network and the hard one with its weights to predict the same. Received: "
            f"{differing} test images on which they differ."
        )
    return {
        "cpu_seconds": f"{float(result['cpu_seconds']):.1f}",
        "train_loss": f"{result['loss'][-1]:.4f}",
        "backend": "tensorflow (Keras 2)",
        **measure_hard(hard, data),
    }


def train_in_larq(
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    weights: Any,
    steps: int | None = None,
    pieces: Pieces | None = None,
) -> dict[str, Any]:
    """Trains with Larq from given weights, in a process of its own; returns what it wrote."""
    import numpy as np

    pieces = pieces or Pieces()

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
        "folder": None if pieces.folder is None else str(pieces.folder),
        "minutes": pieces.deadline.minutes_left,
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
        command = [sys.executable, str(HERE / "accuracy_larq.py"), str(given), str(written)]
        ended = subprocess.run(command, env={**environment, "PYTHONPATH": paths}, check=False)
        if ended.returncode == OUT_OF_TIME:
            raise OutOfTimeError
        ended.check_returncode()
        with np.load(written) as stored:
            return dict(stored)


def own_weights(model: Any) -> list[Any]:
    """The weights of a network of Keras 3 without the sharpness, which others do not have."""
    import keras

    kept = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    return [keras.ops.convert_to_numpy(weight) for weight in kept]


def signs_of_kernels(model: Any) -> list[Any]:
    """The weights without the sharpness; of hard layers the signs they compute with, in int8."""
    import keras
    import numpy as np

    def sign_of(layer: Any) -> Any:
        of = getattr(layer, "latent_kernel", None) or layer.effective_kernel
        return np.where(keras.ops.convert_to_numpy(of()) >= 0, 1, -1)

    binary = [layer for layer in model.layers if hasattr(layer, "latent_kernel")]
    binary += [
        layer for layer in model.layers if getattr(layer, "binarize_kernel", False) and layer.is_hard
    ]
    signs = {id(layer.kernel): sign_of(layer) for layer in binary}
    kept = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    return [
        signs[id(weight)].astype("int8") if id(weight) in signs else array
        for weight, array in zip(kept, own_weights(model), strict=True)
    ]


def as_self_binarizing(weights: Any, setting: Setting, shape: tuple[int, ...], method: Any) -> Any:
    """A hard network of this package with a straight-through one's weights, so that fold takes it."""
    from accuracy_networks import build

    import keras_sbn

    model = build(setting.network, method.hard_kit(), shape)
    targets = [weight for weight in model.weights if not weight.name.endswith("_sharpness")]
    for target, value in zip(targets, weights, strict=True):
        target.assign(value)
    keras_sbn.binarize(model)
    return model


def _measure(model: Any, data: Any, found: Any, quick: bool) -> dict[str, Any]:
    """The accuracies of a network as it is, and with its statistics estimated again.

    `found` are its classes of the test images.
    """
    import keras_sbn

    measured = {
        "validation": f"{share_right(model, *data.validation):.4f}",
        "test": f"{float((found == data.test[1]).mean()):.4f}",
    }
    if quick:
        return measured
    keras_sbn.reestimate_batch_normalization(model, data.train[0][:5000], batch_size=500)
    measured["validation_reestimated"] = f"{share_right(model, *data.validation):.4f}"
    measured["test_reestimated"] = f"{share_right(model, *data.test):.4f}"
    return measured


def measure_hard(model: Any, data: Any, soft: Any = None, quick: bool = False) -> dict[str, Any]:
    """The columns of the binary network; `soft` are the soft one's classes of the test images."""
    import numpy as np

    import keras_sbn

    keras_sbn.binarize(model)
    if quick:
        return _measure_file(model, data)
    hard = classes(model, data.test[0])
    measured = {}
    if soft is not None:
        measured["soft_unlike_hard"] = str(np.count_nonzero(soft != hard))
    folded = classes(keras_sbn.fold(model), data.test[0])
    measured["folded_unlike_hard"] = str(np.count_nonzero(folded != hard))
    return {**measured, **_measure(model, data, hard, False)}


#: So many test images are classified by the network as well, to see that its file is the same.
_COMPARED = 200


def _measure_file(model: Any, data: Any) -> dict[str, Any]:
    """The accuracies of a hard network, of its file with one-bit kernels: in a tenth of the time.

    Raises:
        RuntimeError: If file and network disagree on one of the first test images.
    """
    import numpy as np

    import keras_sbn

    file = keras_sbn.convert(keras_sbn.fold(model), target="lce")
    found = {
        name: np.concatenate([file.predict(part).argmax(-1) for part in np.array_split(images, 20)])
        for name, images in (("validation", data.validation[0]), ("test", data.test[0]))
    }
    differing = np.count_nonzero(classes(model, data.test[0][:_COMPARED]) != found["test"][:_COMPARED])
    # XNNPACK sums float layers in another order, which moves a decision here and there.
    if differing > _COMPARED // 100:
        raise RuntimeError(
            "Expected the file to decide as the hard network does. Received: "
            f"{differing} of {_COMPARED} test images on which they differ."
        )
    right = {"validation": data.validation[1], "test": data.test[1]}
    return {name: f"{float((found[name] == right[name]).mean()):.4f}" for name in right}


def classes(model: Any, images: Any) -> Any:
    """The classes that a network says."""
    return model.predict(images, batch_size=500, verbose=0).argmax(-1)


def share_right(model: Any, images: Any, labels: Any) -> float:
    """The accuracy."""
    return float((classes(model, images) == labels).mean())


@dataclass(frozen=True)
class Sitting:
    """How long the benchmark runs now, and where it keeps runs that are not finished."""

    checkpoints: Path | None = None
    deadline: Deadline = field(default_factory=Deadline)

    def pieces(self, name: str) -> Pieces:
        """The folder of a run."""
        return Pieces(None if self.checkpoints is None else self.checkpoints / name, self.deadline)


def key_of(preset: str, setting: Setting, method: Any, rate: float, seed: int) -> dict[str, Any]:
    """The columns by which the row of a run is found."""
    return {
        "preset": preset,
        "dataset": setting.dataset,
        "network": setting.network,
        "method": method.name,
        "learning_rate": f"{rate:g}",
        "seed": seed,
        "config": config_hash(setting, method),
    }


def run_if_missing(
    results: Results,
    preset: str,
    setting: Setting,
    method: Any,
    rate: float,
    seed: int,
    data: Any,
    sitting: Sitting,
) -> dict[str, str]:
    """Returns the row of a run, from the file or after running it.

    Raises:
        OutOfTimeError: If the time of the sitting is over.
    """
    key = key_of(preset, setting, method, rate, seed)
    found = results.find(**key)
    if found is None:
        sitting.deadline.check()
        pieces = sitting.pieces("-".join(str(part) for part in key.values()))
        measured = run(setting, method, rate, seed, data, None, pieces)
        row = {**key, "epochs": setting.epochs, **measured}
        results.append(row)
        pieces.remove()
        found = {column: str(row.get(column, "")) for column in COLUMNS}
        print(
            f"{preset} {setting.dataset} {setting.network} {method.name} learning rate {rate:g} seed "
            f"{seed}: validation {found['validation']} test {found['test']} "
            f"({found['cpu_seconds']} s)",
            flush=True,
        )
    return found


def sweep_and_run(
    results: Results,
    preset: str,
    setting: Setting,
    method: Any,
    seeds: int,
    data: Any,
    sitting: Sitting | None = None,
) -> None:
    """The sweep of learning rates with the first seeds, then the other seeds with the best."""
    here = sitting or Sitting()

    def row_of(rate: float, seed: int) -> dict[str, str]:
        return run_if_missing(results, preset, setting, method, rate, seed, data, here)

    sweep(setting, seeds, row_of)


def sweep(setting: Setting, seeds: int, row_of: Callable[[float, int], dict[str, str]]) -> None:
    """Runs the first seeds at every learning rate, then the others at the best.

    Args:
        setting: Has the learning rates, and how many seeds they are compared on.
        seeds: How many there are.
        row_of: Returns the row of a learning rate and a seed, after running it where it has to.
    """
    swept = range(min(seeds, setting.sweep_seeds))
    rows = {
        f"{rate:g}": {str(seed): row_of(rate, seed) for seed in swept} for rate in setting.learning_rates
    }
    best = float(best_rate(rows))
    for seed in range(len(swept), seeds):
        row_of(best, seed)


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
    parser.add_argument("--methods", nargs="+", help="default: five with full, two with paper, else all")
    parser.add_argument("--seeds", type=int, help="default: 5 for the digits, 3 for the others")
    parser.add_argument("--learning-rates", nargs="+", type=float, help="the sweep, if another")
    parser.add_argument("--data-dir", help="folder of local files; without it, tensorflow-datasets")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, help="stop at the end of the epoch after so many")
    parser.add_argument(
        "--checkpoints", type=Path, default=CHECKPOINTS, help="folder of runs that are not finished"
    )
    parser.add_argument(
        "--try-steps", type=int, help="train so many steps, to see that it works; adds no row"
    )
    parser.add_argument("--report", action="store_true", help="print the table; run nothing")
    parser.add_argument("--plot", type=Path, help="with --report, also draw it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, or reports."""
    parser = _parser()
    given = parser.parse_args(arguments)
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
    methods = [METHODS[name] for name in given.methods or METHODS_OF.get(given.preset, METHODS)]
    methods = [method for method in methods if available(method.name, method.family)]
    results = Results(given.results)
    try:
        sitting = Sitting(given.checkpoints, Deadline(given.minutes))
    except ValueError as error:
        parser.error(str(error))
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
            try:
                seeds = given.seeds or setting.seeds
                sweep_and_run(results, given.preset, setting, method, seeds, data, sitting)
            except OutOfTimeError:
                print("The time is over. The same command goes on from here.", flush=True)
                return


if __name__ == "__main__":
    main()
