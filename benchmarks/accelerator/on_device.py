"""A whole epoch in one compiled call: order, augmentation, steps, and what `Sharpen` does between them.

Under JAX the images lie on the device as uint8. An epoch is `jax.lax.scan` over its batches: each is
gathered, shifted and mirrored there, and Keras's stateless API makes a step of it. What
`keras_sbn.callbacks.Sharpen` does from the host before a batch is done in the scan, before every batch:
sharpness, decay, mean and freezing of kernels, accumulated statistics; `SharpnessPlan` of the package
decides when. `tests/benchmarks/test_accelerator.py` holds it against `model.fit` with `Sharpen`.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from accuracy import rates_of
from accuracy_methods import SMOOTHING
from accuracy_networks import CLASSES
from accuracy_pieces import Deadline, OutOfTimeError
from jax import numpy as jnp

from keras_sbn.averaging import _FEWEST
from keras_sbn.callbacks import Sharpen

#: A checkpoint is written at the end of a piece, and after so many seconds since the last.
_SECONDS_BETWEEN_CHECKPOINTS = 60
#: Images that are classified at once.
_CLASSIFIED = 500
#: What is compiled for the trainings of this process. The values of a training are arguments, so those
#: that differ in seed, learning rate or schedule share it.
_COMPILED: dict[str, tuple[Any, Any]] = {}


def order(seed: int, epoch: int, images: int) -> Any:
    """The order of the images in an epoch, and the key of its augmentation."""
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    shuffling, augmenting = jax.random.split(key)
    return jax.random.permutation(shuffling, images), augmenting


def augmented(images: Any, key: Any, shift: int, flip: bool) -> Any:
    """Images of one batch, each shifted by up to `shift` pixels and, half of them, mirrored.

    The border repeats the edge of the image, as in `accuracy_data.Batches`.
    """
    n, height, width, channels = images.shape
    shifting, flipping = jax.random.split(key)
    if shift:
        edges = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        padded = jnp.pad(images, edges, mode="edge")
        corners = jax.random.randint(shifting, (n, 2), 0, 2 * shift + 1)

        def window(image: Any, corner: Any) -> Any:
            start = (corner[0], corner[1], 0)
            return jax.lax.dynamic_slice(image, start, (height, width, channels))

        images = jax.vmap(window)(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(flipping, 0.5, (n,))
        images = jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return images


def softened(x: Any, y: Any, key: Any, recipe: tuple[str, ...]) -> tuple[Any, Any]:
    """Images and probabilities of the classes after CutMix and label smoothing, where they are asked for.

    CutMix (Yun et al., arXiv 1905.04899): half of the batches get a rectangle of the batch in another
    order, of a share that is uniform in [0, 1], and the classes in this proportion.
    """
    if "cutmix" in recipe:
        sharing, placing, coin = jax.random.split(key, 3)
        height, width = x.shape[1:3]
        kept = jax.random.uniform(sharing)
        side = jnp.sqrt(1 - kept) / 2
        center = jax.random.uniform(placing, (2,))
        rows = jnp.abs((jnp.arange(height) + 0.5) / height - center[0]) < side
        columns = jnp.abs((jnp.arange(width) + 0.5) / width - center[1]) < side
        cut = (rows[:, None] & columns[None, :]) & (jax.random.uniform(coin) < 0.5)
        share = cut.mean()
        # The batch is in random order already, so its mirror image is a partner as good as any.
        x = jnp.where(cut[None, :, :, None], x[::-1], x)
        y = (1 - share) * y + share * y[::-1]
    if "smooth" in recipe:
        y = (1 - SMOOTHING) * y + SMOOTHING / CLASSES
    return x, y


def optimizer_of(recipe: tuple[str, ...], rate: float) -> Any:
    """Adam, or SGD with Nesterov's momentum where the recipe asks for it."""
    if "sgd" in recipe:
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    return keras.optimizers.Adam(rate)


class DeviceTraining:
    """A training whose epochs are one call each.

    Args:
        model: A built model, uncompiled.
        setting: `accuracy.Setting`: epochs, batch size, augmentation.
        method: `accuracy_methods.Method`.
        rate: Learning rate at the start; it falls as a cosine, a step an epoch.
        seed: Seed of order and augmentation.
        data: `accuracy_data.Data`; training images of 8 bits scaled to [-1, 1).
        scans: Whether an epoch is one call, and not one a step. Default: unless a CPU computes it.
    """

    def __init__(
        self,
        model: Any,
        setting: Any,
        method: Any,
        rate: float,
        seed: int,
        data: Any,
        *,
        scans: bool | None = None,
    ) -> None:
        scans = jax.default_backend() != "cpu" if scans is None else scans
        self.model, self.setting, self.seed = model, setting, seed
        self.recipe = method.recipe
        self.rates = rates_of(setting, method, rate)
        self.images = jnp.asarray(np.round((data.train[0] + 1) * 128).astype("uint8"))
        self.labels = jnp.asarray(data.train[1].astype("int32"))
        self.steps = len(self.images) // setting.batch_size
        self.optimizer = optimizer_of(self.recipe, rate)
        self.optimizer.build(model.trainable_variables)
        self.epoch, self.losses, self.seconds = 0, [], 0.0
        self._find_variables(method)
        kernels = [model.trainable_variables[i].value for i in self._averaged]
        # Copies: an epoch takes the place of the state before it, and the model keeps its own.
        self.state = {
            "trainable": [jnp.copy(variable.value) for variable in model.trainable_variables],
            "others": [jnp.copy(variable.value) for variable in model.non_trainable_variables],
            "optimizer": [jnp.copy(variable.value) for variable in self.optimizer.variables],
            "mean": [jnp.zeros_like(kernel) for kernel in kernels],
            "moments": jnp.zeros(()),
        }
        parts = [setting.network, data.shape, setting.batch_size, setting.shift, setting.flip, self.steps]
        parts += [method.graph, self._rate, len(self._sharpness), self._freezing, self._accumulating]
        parts += [self._averaged, self._decaying, keras.config.dtype_policy().name]
        parts.append(scans)
        run = jax.jit(self._epoch, donate_argnums=0) if scans else self._step_by_step()
        self._run, self._classify = _COMPILED.setdefault(json.dumps(parts), (run, jax.jit(self._classes)))

    def _find_variables(self, method: Any) -> None:
        """Positions of the variables that change between steps, and the plan that says how."""
        trainable = _positions(self.model.trainable_variables)
        others = _positions(self.model.non_trainable_variables)
        self._rate = _positions(self.optimizer.variables)[id(self.optimizer._learning_rate)]
        self._plan, self._decay = None, 0.0
        self._sharpness: list[tuple[int, Any]] = []
        self._freezing: list[int] = []
        self._accumulating: list[int] = []
        self._averaged: list[int] = []
        self._decaying: list[int] = []
        if not method.sharpens:
            return
        sharpen = Sharpen(binarize=False, **method.scheduling())
        plan = self._plan = sharpen.plan
        self._decay = sharpen.weight_decay or 0.0
        layers = plan.layers(self.model)
        self._sharpness = [(others[id(weight)], when) for weight, when in plan.weights(layers)]
        self._averaged = [trainable[id(kernel)] for kernel in plan.kernels_to_freeze(layers)]
        self._decaying = [trainable[id(kernel)] for kernel in plan.decaying_kernels(layers, 0.0)]
        for layer in self.model.layers:
            for name, found in (
                ("kernel_gradient_scale", self._freezing),
                ("accumulates_statistics", self._accumulating),
            ):
                variable = getattr(layer, "training_state", lambda name: None)(name)
                if variable is not None:
                    found.append(others[id(variable)])

    def plan(self, epoch: int) -> dict[str, np.ndarray]:
        """What holds at every step of an epoch: arrays whose first axis are the steps."""
        first, total = epoch * self.steps, self.setting.epochs * self.steps
        names = ("sharpness", "frozen", "accumulates", "averages", "decay")
        found: dict[str, list[Any]] = {name: [] for name in names}
        for step in range(first, first + self.steps):
            at = {"progress": step / total, "until": 1 / total}
            frozen = self._plan is not None and self._plan.freezes(**at)
            found["sharpness"].append([float(when(at["progress"])) for _, when in self._sharpness])
            found["frozen"].append(frozen)
            found["accumulates"].append(self._plan is not None and self._plan.accumulates(**at))
            found["averages"].append(self._plan is not None and self._plan.averages(**at))
            decays = step > 0 and not frozen
            found["decay"].append(np.exp(-self._decay * self.rates[epoch]) if decays else 1.0)
        types = {"sharpness": "float32", "decay": "float32"}
        arrays = {name: np.asarray(rows, types.get(name, "bool")) for name, rows in found.items()}
        return {**arrays, "rate": np.full(self.steps, self.rates[epoch], "float32")}

    def _between(self, state: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        """What happens before a step, as in `Sharpen.on_train_batch_begin`."""
        trainable, others = list(state["trainable"]), list(state["others"])
        for column, (position, _) in enumerate(self._sharpness):
            others[position] = now["sharpness"][column]
        for position in self._freezing:
            others[position] = 1.0 - now["frozen"].astype("float32")
        for position in self._accumulating:
            others[position] = now["accumulates"].astype("float32")
        for position in self._decaying:
            trainable[position] = trainable[position] * now["decay"]
        kernels, mean, moments = [trainable[i] for i in self._averaged], state["mean"], state["moments"]
        # Choices, not branches: a GPU would wait for the host at each.
        count = moments + 1.0
        assigns = now["frozen"] & (moments >= _FEWEST)
        mean = [
            jnp.where(now["averages"], m + (kernel - m) / count, m)
            for m, kernel in zip(mean, kernels, strict=True)
        ]
        for position, kernel, m in zip(self._averaged, kernels, mean, strict=True):
            trainable[position] = jnp.where(assigns, m, kernel)
        moments = jnp.where(now["averages"], count, jnp.where(now["frozen"], 0.0, moments))
        return {**state, "trainable": trainable, "others": others, "mean": mean, "moments": moments}

    def _step(self, state: dict[str, Any], now: dict[str, Any], images: Any, labels: Any) -> Any:
        state = self._between(state, now)
        x = images[now["images"]]
        x = augmented(x, now["key"], self.setting.shift, self.setting.flip)
        x, y = x.astype("float32") / 128 - 1, jax.nn.one_hot(labels[now["images"]], CLASSES)
        x, y = softened(x, y, jax.random.fold_in(now["key"], 1), self.recipe)

        def loss(trainable: Any) -> Any:
            logits, others = self.model.stateless_call(trainable, state["others"], x, training=True)
            return -(y * jax.nn.log_softmax(logits.astype("float32"))).sum(-1).mean(), others

        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(state["trainable"])
        optimizer = list(state["optimizer"])
        optimizer[self._rate] = now["rate"]
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, state["trainable"])
        return {**state, "trainable": trainable, "others": others, "optimizer": optimizer}, value

    def _epoch(
        self, state: dict[str, Any], plan: Any, images: Any, labels: Any, seed: Any, epoch: Any
    ) -> Any:
        # Nothing here is constant of the seed: all seeds share what is compiled.
        now = {**plan, **self._batches(len(images), seed, epoch)}
        state, losses = jax.lax.scan(
            lambda state, now: self._step(state, now, images, labels), state, now
        )
        return state, losses.mean()

    def _batches(self, images: int, seed: Any, epoch: Any) -> dict[str, Any]:
        """The images of every step of an epoch, and the key of its augmentation."""
        shuffled, key = order(seed, epoch, images)
        batches = shuffled[: self.steps * self.setting.batch_size].reshape(self.steps, -1)
        return {"images": batches, "key": jax.random.split(key, self.steps)}

    def _step_by_step(self) -> Any:
        """The epoch as a call a step: in a loop XLA's convolutions are 25 times slower on a CPU."""
        step = jax.jit(self._step, donate_argnums=0)
        batches_of = jax.jit(self._batches, static_argnums=0)

        def epoch_of(state: Any, plan: Any, images: Any, labels: Any, seed: Any, epoch: Any) -> Any:
            now = {**plan, **batches_of(len(images), seed, epoch)}
            losses = []
            for index in range(self.steps):
                at = {name: values[index] for name, values in now.items()}
                state, loss = step(state, at, images, labels)
                losses.append(loss)
            return state, jnp.stack(losses).mean()

        return epoch_of

    def _classes(self, trainable: Any, others: Any, images: Any) -> Any:
        def classify(x: Any) -> Any:
            x = x.astype("float32") / 128 - 1
            return self.model.stateless_call(trainable, others, x, training=False)[0].argmax(-1)

        at_once = math.gcd(len(images), _CLASSIFIED)
        batches = images.reshape(-1, at_once, *images.shape[1:])
        return jax.lax.map(classify, batches).reshape(-1)

    def share_right(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The accuracy of the network as it is on images scaled to [-1, 1)."""
        stored = jnp.asarray(np.round((images + 1) * 128).astype("uint8"))
        found = self._classify(self.state["trainable"], self.state["others"], stored)
        return float((np.asarray(found) == labels).mean())

    def run_epoch(self) -> float:
        """Trains for one epoch; returns its mean loss."""
        started = time.perf_counter()
        plan = self.plan(self.epoch)
        self.state, loss = self._run(self.state, plan, self.images, self.labels, self.seed, self.epoch)
        self.losses.append(float(loss))
        self.epoch += 1
        self.seconds += time.perf_counter() - started
        return self.losses[-1]

    def run(self, checkpoint: Path | None, deadline: Deadline, log: Any = None) -> None:
        """Trains to the end, from the checkpoint if it is there.

        Raises:
            OutOfTimeError: When the time is over; the checkpoint is written.
        """
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        saved = time.monotonic()
        while self.epoch < self.setting.epochs:
            before = self.seconds
            loss = self.run_epoch()
            if log is not None:
                log(epoch=self.epoch, loss=loss, seconds=self.seconds - before)
            try:
                deadline.check()
            except OutOfTimeError:
                if checkpoint is not None:
                    self.save(checkpoint)
                raise
            if checkpoint is not None and time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                self.save(checkpoint)
                saved = time.monotonic()
        self.put_into_model()

    def put_into_model(self) -> None:
        """Assigns the state to the model's variables, with no kernel frozen."""
        parts = (
            ("trainable", self.model.trainable_variables),
            ("others", self.model.non_trainable_variables),
        )
        for name, variables in parts:
            for variable, value in zip(variables, self.state[name], strict=True):
                variable.assign(value)
        for layer in self.model.layers:
            if hasattr(layer, "freeze_kernel"):
                layer.freeze_kernel(False)
            if hasattr(layer, "accumulate_statistics"):
                layer.accumulate_statistics(False)

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all."""
        leaves = jax.tree_util.tree_leaves(self.state)
        known = {"epoch": self.epoch, "losses": self.losses, "seconds": self.seconds}
        arrays = {f"array_{index}": np.asarray(leaf) for index, leaf in enumerate(leaves)}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, known=json.dumps(known), **arrays)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        """Goes on from what was written."""
        structure = jax.tree_util.tree_structure(self.state)
        with np.load(path) as stored:
            known = json.loads(str(stored["known"]))
            # Copies: an epoch gives away the memory of its state, and that of an array is NumPy's.
            leaves = [jnp.array(stored[f"array_{i}"]) for i in range(structure.num_leaves)]
        self.state = jax.tree_util.tree_unflatten(structure, leaves)
        self.epoch, self.losses, self.seconds = known["epoch"], known["losses"], known["seconds"]


def _positions(variables: list[Any]) -> dict[int, int]:
    return {id(variable): position for position, variable in enumerate(variables)}
