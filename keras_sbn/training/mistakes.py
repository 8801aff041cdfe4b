"""What a network takes for what: the decisions on the validation images, and the worst of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClassResult:
    """How a class was recognized.

    Attributes:
        name: Name of the class.
        images: Number of its validation images.
        correct: How many of them were recognized.
        taken_for: The class that they were most often taken for otherwise; `None` where all are right.
        times: How often.
    """

    name: str
    images: int
    correct: int
    taken_for: str | None
    times: int

    @property
    def accuracy(self) -> float | None:
        """Share of its images that were recognized; `None` without any."""
        return self.correct / self.images if self.images else None


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Decisions on images in their order.

    Attributes:
        labels: What they are, `(images,)`.
        predicted: What was said, `(images,)`.
        margins: By how much the output of what was said exceeds that of what is true, `(images,)`; 0
            where it is right.
        class_names: Names of the classes.
    """

    labels: np.ndarray
    predicted: np.ndarray
    margins: np.ndarray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, outputs: np.ndarray, labels: np.ndarray, class_names: Any) -> Mistakes:
        """Decisions from the outputs of a network, `(images, classes)`."""
        predicted = outputs.argmax(axis=-1)
        rows = np.arange(len(labels))
        margins = outputs[rows, predicted] - outputs[rows, labels]
        return cls(np.asarray(labels), predicted, margins, tuple(map(str, class_names)))

    @property
    def accuracy(self) -> float:
        """Share of the images that were recognized."""
        return float(np.mean(self.labels == self.predicted))

    def confusion(self) -> np.ndarray:
        """Number of images, `(classes, classes)`: what they are, and what they were taken for."""
        classes = len(self.class_names)
        counts = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)

    def by_class(self) -> list[ClassResult]:
        """How each class was recognized, in their order."""
        confusion = self.confusion()
        wrong = confusion - np.diag(np.diag(confusion))
        found = []
        for index, name in enumerate(self.class_names):
            other = int(wrong[index].argmax())
            times = int(wrong[index, other])
            taken_for = self.class_names[other] if times else None
            images, correct = int(confusion[index].sum()), int(confusion[index, index])
            found.append(ClassResult(name, images, correct, taken_for, times))
        return found

    def worst(self, count: int) -> np.ndarray:
        """Where the images are that were taken for another class most surely, at most `count`."""
        wrong = np.flatnonzero(self.labels != self.predicted)
        return wrong[np.argsort(-self.margins[wrong], kind="stable")][:count]
