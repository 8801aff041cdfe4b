"""The settings of a training, and the TOML file that holds them."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_sbn.conversion.targets import RUN_TARGETS, TFLITE_TARGETS
from keras_sbn.files import write_atomically
from keras_sbn.suggestions import did_you_mean
from keras_sbn.training.setting_types import setting_types

# The command line reads the settings before Keras has a backend, so what needs Keras is imported later.
if TYPE_CHECKING:
    from keras_sbn.data import ImageDataset
    from keras_sbn.from_keras.result import BinaryModel
    from keras_sbn.schedules import SharpnessSchedule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Names of policies of keras_sbn.binary_model.
_POLICIES = ("vgg", "bireal")
#: Classes of keras_sbn.schedules, in lower case.
_SCHEDULES = ("exponential", "linear", "cosine", "adaptive")


def _setting(default: Any, help: str, **metadata: Any) -> Any:
    """A field; `flag` names its option where it is not that of the field, the rest is argparse's."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training gives. `keras-sbn train --help` says what each is.

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> settings = keras_sbn.training.TrainSettings(model="tinyconv", epochs=2)
    >>> path = settings.save("run.toml")
    >>> keras_sbn.training.TrainSettings.read(path) == settings
    True
    """

    model: str = _setting("tinyconv", "architecture of keras_sbn.models, such as binarynet or resnet20")
    source: str | None = _setting(
        None,
        "a float Keras model, as a .keras file, to make binary and train, in place of --model",
        flag="--from",
    )
    policy: str | None = _setting(
        None, "which layers of --from become binary: vgg or bireal, as keras_sbn.binary_model says"
    )
    keep: tuple[str, ...] | None = _setting(None, "layers of --from that stay float", metavar="LAYER")
    teacher: str | None = _setting(
        None, "a .keras model to learn from; without a file, that of --from", metavar="MODEL", nargs="?"
    )
    temperature: float | None = _setting(
        None, "temperature at which the teacher's and the student's classes are compared"
    )
    teacher_weight: float | None = _setting(
        None, "weight of what the teacher says, beside 1 of the labels"
    )
    dataset: str = _setting(
        "digits",
        "name of a data set (digits, mnist, cifar10, ...), or path of a folder of images or an .npz",
    )
    epochs: int = _setting(40, "number of epochs")
    batch_size: int = _setting(64, "number of images in a training step")
    learning_rate: float = _setting(1e-2, "learning rate of Adam at the start; it falls as a cosine")
    alpha: float = _setting(1.0, "width multiplier of the architecture")
    seed: int = _setting(0, "seed of weights, order and augmentation")
    image_size: tuple[int, int] | None = _setting(
        None, "height and width to bring images to; otherwise as they are", metavar=("HEIGHT", "WIDTH")
    )
    input_scaling: tuple[float, float] | None = _setting(
        None,
        "the network sees SCALE * image + OFFSET of 8-bit images; give what --from was trained on, "
        "such as 1/255 0 (default: 1/128 -1, and 1/16 0 for the digits)",
        metavar=("SCALE", "OFFSET"),
    )
    validation_split: float = _setting(0.1, "share held out where the data have no validation split")
    augment: bool = _setting(True, "shift and mirror training images as is usual for the data set")
    data_dir: str | None = _setting(None, "where tensorflow-datasets keeps its files")
    train_samples: int | None = _setting(None, "train on that many images only")
    validation_samples: int | None = _setting(None, "validate on that many images only")
    schedule: str = _setting("exponential", f"how the sharpness rises: {', '.join(_SCHEDULES)}")
    sharpness_end: float | None = _setting(
        None, "sharpness at the end of the rise, after which the network is hard"
    )
    sharpness_end_at: float | None = _setting(None, "share of the training at which the rise ends")
    reestimate_samples: int = _setting(
        0, "training images to estimate batch normalization on again; its statistics fit already"
    )
    backend: str | None = _setting(None, "backend of Keras: tensorflow, jax or torch")
    devices: int = _setting(1, "number of devices to train on, with TensorFlow or JAX")
    dtype_policy: str = _setting("float32", "Keras's dtype policy, such as mixed_bfloat16")
    threads: int = _setting(2, "threads that prepare the batches")
    targets: tuple[str, ...] = _setting(
        RUN_TARGETS, "files to write: lce, tflite, micro, or none", metavar="TARGET"
    )
    quantize_first_layer: bool = _setting(
        False, "make a float first convolution int8, exact on every device, at a little accuracy"
    )
    verify_samples: int = _setting(
        1000, "validation images on which each file is compared with the model"
    )
    tensorboard: bool = _setting(
        True, "write logs for TensorBoard, where it and TensorFlow are installed"
    )

    def __post_init__(self) -> None:
        from keras_sbn.layers.base import positive_integer
        from keras_sbn.models import by_name

        for name in ("epochs", "batch_size", "devices", "verify_samples"):
            positive_integer(getattr(self, name), name)
        by_name(self.model)
        for name, value, known in (
            ("policy", self.policy, (None, *_POLICIES)),
            ("schedule", self.schedule, _SCHEDULES),
            ("backend", self.backend, (None, "tensorflow", "jax", "torch")),
            *(("targets", target, TFLITE_TARGETS) for target in self.targets),
        ):
            if value not in known:
                hint = did_you_mean(str(value), (one for one in known if one))
                raise ValueError(
                    f"Expected `{name}` to be one of {known}. Received: {name}={value!r}.{hint}"
                )
        for name in ("learning_rate", "alpha", "temperature", "teacher_weight"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Expected `{name}` to be positive. Received: {value!r}")
        for name, flag, needed in (
            ("policy", "--from", self.source),
            ("keep", "--from", self.source),
            ("temperature", "--teacher", self.teacher),
            ("teacher_weight", "--teacher", self.teacher),
        ):
            if getattr(self, name) is not None and needed is None:
                raise ValueError(
                    f"Expected `{name}` only together with {flag}. Received: {name}="
                    f"{getattr(self, name)!r}"
                )
        if self.reestimate_samples < 0 or self.threads < 0:
            raise ValueError(
                "Expected `reestimate_samples` and `threads` to be 0 or more. Received: "
                f"{self.reestimate_samples} and {self.threads}"
            )

    @classmethod
    def read(cls, path: str | os.PathLike[str], **changes: Any) -> TrainSettings:
        """Reads a TOML file; what is not in it has its default.

        Args:
            path: The file.
            **changes: Settings that take the place of those in the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it is no TOML, or holds an unknown or wrong setting.
        """
        return cls.of({**read_toml(path), **changes}, str(path))

    @classmethod
    def of(cls, values: dict[str, Any], source: str = "settings") -> TrainSettings:
        """Settings from a dictionary, with its values checked.

        Raises:
            ValueError: If a name is unknown or a value of the wrong type.
        """
        kinds = setting_types(cls)
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise ValueError(
                f"Expected settings out of {', '.join(kinds)}. Received: {unknown} in {source}."
                f"{did_you_mean(unknown[0], kinds)}"
            )
        return cls(**{name: kinds[name].convert(name, value) for name, value in values.items()})

    @classmethod
    def read_whole(cls, path: str | os.PathLike[str]) -> TrainSettings:
        """Reads a TOML file that `save` wrote: every setting that has a value is in it.

        Raises:
            OSError: If the file cannot be read.
            ValueError: As for `read`, and if settings are missing: the file is damaged.
        """
        settings = cls.read(path)
        found = read_toml(path)
        missing = [n for n, kind in setting_types(cls).items() if not kind.optional and n not in found]
        if missing:
            raise ValueError(
                f"Expected all settings of the run in {path}. Received a file without "
                f"{', '.join(missing)}: it is damaged. Write them again as they were, or start a new run."
            )
        return settings

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the settings as TOML, with a comment on each, and returns the path.

        Raises:
            OSError: If the file cannot be written.
        """
        lines = []
        for setting in fields(self):
            value = getattr(self, setting.name)
            comment = setting.metadata["help"]
            # What is not set stays in the file as a comment.
            text = f"# {setting.name} =" if value is None else f"{setting.name} = {_toml(value)}"
            lines.append(f"# {comment}\n{text}\n")
        return write_atomically(path, "\n".join(lines).encode())

    def load_data(self) -> ImageDataset:
        """Loads the data set."""
        from keras_sbn.data import load

        dataset = load(
            self.dataset,
            image_size=self.image_size,
            validation_split=self.validation_split,
            seed=self.seed,
            input_scaling=self.input_scaling,
            data_dir=self.data_dir,
        )
        if not self.augment:
            dataset = dataclasses.replace(dataset, augmentation=None)
        return dataset.take(self.train_samples, self.validation_samples, self.seed)

    def build_model(self, dataset: ImageDataset) -> Any:
        """Builds the architecture for the data set, with logits as outputs, or makes `source` binary."""
        from keras_sbn.models import by_name

        if self.source is not None:
            return self.binary_model(dataset).model
        build = by_name(self.model)
        return build(
            dataset.input_shape,
            alpha=self.alpha,
            classes=dataset.classes,
            classifier_activation=None,
        )

    def binary_model(self, dataset: ImageDataset) -> BinaryModel:
        """Makes the binary network of `source`.

        Raises:
            ValueError: If it is no model of these images and classes, or cannot be made binary.
        """
        from keras_sbn.from_keras.binary_model import binary_model
        from keras_sbn.training.float_models import read_classifier

        if self.source is None:
            raise ValueError("Expected a float model, in --from. Received none")
        options: dict[str, Any] = {} if self.policy is None else {"policy": self.policy}
        model = read_classifier(self.source, "--from", dataset)
        return binary_model(model, keep=self.keep or (), **options)

    def taught(self, model: Any, dataset: ImageDataset) -> Any:
        """The model to fit: `model` itself, or with its teacher as a `keras_sbn.training.Distillation`.

        Raises:
            ValueError: If the teacher is no model of these images and classes.
        """
        from keras_sbn.training.distillation import Distillation
        from keras_sbn.training.float_models import read_classifier

        if self.teacher is None:
            return model
        given = {"temperature": self.temperature, "weight": self.teacher_weight}
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return Distillation(model, read_classifier(self.teacher, "--teacher", dataset), **options)

    def sharpness_schedule(self) -> SharpnessSchedule:
        """The schedule of the sharpness."""
        from keras_sbn import schedules

        options = {"end": self.sharpness_end, "end_at": self.sharpness_end_at}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        schedule: SharpnessSchedule = getattr(schedules, self.schedule.capitalize())(**given)
        return schedule


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a TOML file as it stands, without asking whether its settings are known.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a TOML file. Received: {path} ({error})") from error


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    # TOML's booleans, numbers and basic strings are those of JSON, once DEL is escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
