"""scikit-learn's handwritten digits, which come with it."""

from __future__ import annotations

import numpy as np

from keras_sbn.data.augmentation import Augmentation
from keras_sbn.data.dataset import ImageDataset, Split
from keras_sbn.data.images import from_array


def load_digits(image_size: tuple[int, int] | None = None) -> ImageDataset:
    """Loads the digits, split 80 : 20 with equal shares of the classes; pixels are 0 to 16.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError("The digits need scikit-learn: pip install 'keras-sbn[digits]'") from error
    images, labels = datasets.load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.uint8)
    if image_size is not None:
        from keras_sbn.deployment.preprocessing import fit_image

        images = np.stack([fit_image(image, *image_size, 1) for image in images])
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=0.2, stratify=labels, random_state=0
    )
    return ImageDataset(
        name="digits",
        class_names=tuple("0123456789"),
        train=Split(from_array(x_train), y_train),
        validation=Split(from_array(x_test), y_test),
        input_scaling=(1 / 16, 0.0),
        # The digits are cut to their size already: one pixel is an eighth of the image.
        augmentation=None if image_size is None else Augmentation(pad=image_size[0] // 16, flip=False),
    )
