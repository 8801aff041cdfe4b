"""A batch in its two forms: as the model takes it, and as the file does.

Mostly they are the same. A model that was folded with `input_scaling` takes floats and its file the 8-bit
image: then the model is given ``scale * image + offset`` and the file the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.conversion.report import TensorReport
from keras_sbn.folding.fold import checked_scaling
from keras_sbn.structures import input_structure, inputs_in_order, names_in_order, order_by_name
from keras_sbn.tflite.interpreter import refuse_nan


@dataclass(frozen=True)
class Batch:
    """The inputs of one batch, an array an input.

    Attributes:
        for_model: What the model takes, in its order.
        for_images: What the file takes, in the order of the model.
        for_file: What the file takes, in its own order.
    """

    for_model: list[np.ndarray]
    for_images: list[np.ndarray]
    for_file: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.for_model[0])

    def sample(self, index: int) -> Batch:
        """One sample of it."""
        forms = (self.for_model, self.for_images, self.for_file)
        return Batch(*([array[index : index + 1] for array in arrays] for arrays in forms))


class InputForms:
    """How the inputs that `verify` is given go to the model and to the file.

    Args:
        model: The Keras model.
        converted: The file.
        input_scaling: `(scale, offset)` with which the model was folded, or `None`.

    Raises:
        ValueError: If model and file have not the same number of inputs, or the scaling is none.
    """

    def __init__(
        self, model: Any, converted: ConvertedModel, input_scaling: tuple[float, float] | None
    ) -> None:
        self._model, self._names = model, converted.input_names
        structure = input_structure(model)
        tensors = list(keras.tree.flatten(structure)) if structure is not None else []
        own = [tensor.name for tensor in tensors]
        count = len(converted.report.inputs)
        if tensors and len(tensors) != count:
            raise ValueError(
                f"Expected a model with the inputs of the file, {list(self._names)}. Received: "
                f"{model.name!r} with {own}"
            )
        self._order = order_by_name(self._names, names_in_order(structure), own)
        self._tensors = [converted.report.inputs[index] for index in self._order]
        floats = [keras.backend.standardize_dtype(t.dtype).startswith("float") for t in tensors]
        #: Of a model without a graph nothing is known.
        self._floats = floats or [False] * count
        self._scaling = None if input_scaling is None else checked_scaling(input_scaling)
        if self._scaling is not None:
            for tensor in self._tensors:
                if not _takes_images(tensor):
                    raise ValueError(
                        "Expected `input_scaling` for a file that takes 8-bit images, of a model folded "
                        f"with it. Received: a file whose input {tensor.name!r} is {tensor.dtype}"
                    )

    @property
    def can_be_scaled(self) -> bool:
        """Whether the file takes images and the model floats, and nothing says how they are related."""
        return self._scaling is None and any(
            floats and _takes_images(tensor)
            for floats, tensor in zip(self._floats, self._tensors, strict=True)
        )

    def batch(self, inputs: Any) -> Batch:
        """Both forms of a batch.

        Raises:
            ValueError: If inputs are missing, hold NaN, or are not what the file takes.
        """
        arrays = [np.asarray(value) for value in inputs_in_order(inputs, self._model, self._names)]
        refuse_nan(arrays, [self._names[index] for index in self._order])
        lengths = sorted({len(array) for array in arrays})
        if len(lengths) != 1:
            raise ValueError(f"Expected inputs with equally many samples. Received: {lengths}")
        given = zip(arrays, self._floats, self._tensors, strict=True)
        for_model, for_images = map(list, zip(*(self._forms(*one) for one in given), strict=True))
        for_file = [for_images[self._order.index(place)] for place in range(len(for_images))]
        return Batch(for_model, for_images, for_file)

    def _forms(
        self, array: np.ndarray, floats: bool, tensor: TensorReport
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._scaling is not None:
            image = array if array.dtype.kind in "iu" else _image_of(array, self._scaling, tensor)
            return (_scaled(image, self._scaling) if floats else image), image
        if not floats:
            return array, array
        if array.dtype.kind in "iub":
            # Integers for a model of float inputs are values, though the file's inputs may be integers.
            return array.astype("float32"), array
        if _takes_images(tensor) and not np.array_equal(array, np.round(array)):
            raise ValueError(
                f"Expected values that the file's input {tensor.name!r} has: it takes the 8-bit image. "
                f"Received: {array.dtype} values in [{array.min():.6g}, {array.max():.6g}]. Of a model "
                "that was folded with `input_scaling`, give `verify` the same `input_scaling`."
            )
        return array, array


def _takes_images(tensor: TensorReport) -> bool:
    """Whether an input of the file is the stored 8-bit integer itself."""
    pair = tensor.scale, tensor.zero_point
    return tensor.dtype in ("uint8", "int8") and pair in ((None, None), (1.0, 0))


def _scaled(image: np.ndarray, scaling: tuple[float, float]) -> np.ndarray:
    scale, offset = np.asarray(scaling, np.float32)
    return np.asarray(image.astype(np.float32) * scale + offset, np.float32)


def _image_of(array: np.ndarray, scaling: tuple[float, float], tensor: TensorReport) -> np.ndarray:
    """The 8-bit image whose scaled values these are.

    Raises:
        ValueError: If there is none.
    """
    scale, offset = scaling
    limits = np.iinfo(np.dtype(tensor.dtype))
    image = np.round((array.astype(np.float64) - offset) / scale)
    # Whoever scaled them may have rounded otherwise, by a few units in the last place.
    near = 8 * np.finfo(np.float32).eps * max(abs(scale) * limits.max, abs(offset), 1e-30)
    fits = (
        (np.abs(image * scale + offset - array) <= near) & (image >= limits.min) & (image <= limits.max)
    )
    if not fits.all():
        raise ValueError(
            f"Expected {scale:g} * image + {offset:g} of 8-bit images, as `input_scaling` says. "
            f"Received: {np.count_nonzero(~fits)} of {array.size} values of input {tensor.name!r} that "
            f"are not, such as {array[~fits][0]:.6g}"
        )
    return image.astype(tensor.dtype)
