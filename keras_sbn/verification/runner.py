"""Running the model and the file on the same batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.structures import input_structure
from keras_sbn.tflite.worker import Worker
from keras_sbn.verification.inputs import Batch


class Runner:
    """Runs the file, in this process or in others, with the runtime and kernels that were asked for."""

    def __init__(
        self, converted: ConvertedModel, workers: int, isolated: bool, options: dict[str, Any]
    ) -> None:
        self._converted, self._workers, self._options = converted, workers, options
        self._in_child = isolated or workers > 1
        self.runtime = ""

    def whole(self, content: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs of another file, as stored, with the same kernels."""
        other = replace(self._converted, content=content)
        found = other.predict(inputs, False, isolated=self._in_child, **self._options)
        return found if isinstance(found, list) else [found]

    def outputs(
        self, model: Any, stream: Iterator[Batch]
    ) -> Iterator[tuple[Batch, Any, list[np.ndarray]]]:
        """Yields every batch with Keras's outputs and the file's.

        While the workers run the file, this process runs Keras on the batches after.
        """
        if not self._in_child:
            with self._converted.pool(**self._options).borrow() as interpreter:
                self.runtime = interpreter.runtime
                for batch in stream:
                    yield batch, _expected(model, batch), interpreter.predict(batch.for_file)
            return
        with ExitStack() as stack:
            idle = [
                stack.enter_context(self._converted.worker(**self._options)) for _ in range(self._workers)
            ]
            pending: deque[tuple[Batch, Any, Worker]] = deque()
            for batch in stream:
                if not idle:
                    done, expected, worker = pending.popleft()
                    yield done, expected, self._result(worker)
                    idle.append(worker)
                worker = idle.pop()
                worker.submit(batch.for_file)
                pending.append((batch, _expected(model, batch), worker))
            for done, expected, worker in pending:
                yield done, expected, self._result(worker)

    def _result(self, worker: Worker) -> list[np.ndarray]:
        """What a worker answers; by then it has opened the file, beside Keras's first batch."""
        found = worker.result()
        self.runtime = worker.runtime
        return found


def _expected(model: Any, batch: Batch) -> Any:
    structure = input_structure(model)
    if structure is not None:
        return model.predict_on_batch(keras.tree.pack_sequence_as(structure, batch.for_model))
    return model.predict_on_batch(batch.for_model if len(batch.for_model) > 1 else batch.for_model[0])
