"""Under JAX: `benchmarks/accelerator` beside `model.fit`, and in pieces; prints what differs, as JSON.

    PYTHONPATH=.:benchmarks:benchmarks/accelerator python tests/benchmarks/accelerator_peer.py FOLDER

FOLDER has `train/CLASS` and `test/CLASS` with images, and takes what is written.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import accuracy
import accuracy_data
import accuracy_networks
import jax
import keras
import numpy as np
import on_device
import run
from accuracy_data import Batches, Data
from accuracy_methods import METHODS

accuracy_networks.CHAINS["vgg16"] = ((4, "M", 4, "M"), ())
SMALL = ["--batch-size", "4", "--train", "8", "--validation", "4", "--test", "4"]


def beside_fit(name):
    """What differs between `model.fit` with `Sharpen`, the scan, and a call a step."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (88, 6, 6, 1)).astype("float32") / 128
    y = rng.integers(0, 10, 88).astype("int32")
    data = Data((x, y), (x, y), (x, y))
    # 220 steps: enough for a mean of ten moments, and so few that `Sharpen` looks before each.
    setting = accuracy.Setting("digits", "vgg16", 5, 2, None, 0, 1)
    devices = {
        way: run.training(setting, METHODS[name], 3, 1e-2, data, scans)
        for way, scans in (("scan", True), ("steps", False))
    }
    for device in devices.values():
        while device.epoch < setting.epochs:
            device.run_epoch()
        device.put_into_model()

    class InOrder(Batches):
        def begin(self, epoch):
            order = np.asarray(on_device.order(3, epoch, len(self.images))[0])
            self._x, self._y = self.images[order], self.classes[order]

    keras.utils.set_random_seed(3)
    model = accuracy_networks.build("vgg16", METHODS[name].kit(), data.shape)
    accuracy_data.Batches = InOrder
    state = accuracy.train(model, setting, METHODS[name], 1e-2, 3, data)
    fitted = accuracy.own_weights(model)

    def unlike(device):
        weights = zip(accuracy.own_weights(device.model), fitted, strict=True)
        return {
            "weights": max(
                float(np.abs(one - other).max() / (np.abs(other).max() + 1e-6)) for one, other in weights
            ),
            "losses": float(np.abs(np.subtract(device.losses, state.losses)).max()),
        }

    moved = state.losses[0] - state.losses[-1]
    return {"moved": moved, **{way: unlike(device) for way, device in devices.items()}}


def in_pieces(folder):
    """Whether a run broken off after its first epoch ends as the unbroken one."""
    options = ["--data-dir", str(folder), "--networks", "vgg16", "--methods", "ours", "--epochs", "3"]
    options += [*SMALL, "--learning-rates", "0.003", "--seeds", "1"]
    whole, pieces = folder / "whole", folder / "pieces"
    returned = [run.main([*options, "--folder", str(whole)])]
    run.measure = lambda *arguments: {"validation": "0", "test": "0"}
    returned += [run.main([*options, "--folder", str(pieces), "--minutes", "1e-6"])]
    kept = len(list(pieces.glob("*.checkpoint.npz")))
    epochs = [len((pieces / "log.jsonl").read_text().splitlines())]
    returned += [run.main([*options, "--folder", str(pieces)])]
    (one,), (other,) = (list(path.glob("paper*.npz")) for path in (whole, pieces))
    (row,), same = (accuracy.Results(path / "rows.csv").rows() for path in (whole, pieces))
    with np.load(one) as first, np.load(other) as second:
        equal = all(np.array_equal(first[key], second[key]) for key in first.files if key != "known")
        kinds = sorted({str(first[key].dtype) for key in first.files if key != "known"})
    returned += [run.main([*options, "--folder", str(pieces)])]
    return {
        "returned": returned,
        "kept": kept,
        "equal": equal,
        "kinds": kinds,
        "losses": [row["train_loss"], *(row["train_loss"] for row in same)],
        "unfolded": row["folded_unlike_hard"],
        "epochs": [*epochs, len((pieces / "log.jsonl").read_text().splitlines())],
    }


def sweep(folder):
    """The rows of two learning rates and two seeds: the second seed has the better rate alone."""
    options = [
        "--data-dir",
        str(folder),
        "--preset",
        "medium",
        "--networks",
        "vgg16",
        "--methods",
        "ours",
    ]
    options += [*SMALL, "--epochs", "1", "--learning-rates", "0.003", "0.01", "--seeds", "2"]
    options += ["--folder", str(folder / "sweep")]
    values = iter((0.1, 0.2, 0.3))
    run.measure = lambda *arguments: {"validation": f"{next(values)}", "test": "0"}
    returned = run.main(options)
    rows = accuracy.Results(folder / "sweep" / "rows.csv").rows()
    compiled = [path.name for path in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).iterdir()]
    return {
        "returned": returned,
        "rows": [[row["preset"], row["learning_rate"], row["seed"]] for row in rows],
        "steps_compiled": sum(name.startswith("jit__step") and "cache" in name for name in compiled),
    }


def augmentation():
    """How many images of a batch are a window of their own, and how many different windows there are."""
    images = np.random.default_rng(0).integers(0, 256, (64, 5, 4, 1)).astype("uint8")
    found = np.asarray(on_device.augmented(images, jax.random.key(1), 1, True))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    windows = [
        {
            (row, column, step): padded[i, row : row + 5, column : column + 4][:, ::step]
            for row in range(3)
            for column in range(3)
            for step in (1, -1)
        }
        for i in range(len(images))
    ]
    which = [
        [at for at, window in windows[i].items() if np.array_equal(window, image)]
        for i, image in enumerate(found)
    ]
    return {"own": sum(map(bool, which)), "windows": len({at for known in which for at in known})}


if __name__ == "__main__":
    found = {
        "fit": beside_fit("ours"),
        "augmentation": augmentation(),
    }
    folder = Path(sys.argv[1])
    print(json.dumps({**found, "pieces": in_pieces(folder), "sweep": sweep(folder)}))
