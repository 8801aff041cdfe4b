import keras
import numpy as np
import pytest

from keras_sbn.tflite.batches import arrays_of, batches, is_streamed, sample_count

A, B = np.arange(10.0).reshape(5, 2), np.arange(5.0)[:, None]


def _joined(x, names=("a",), batch_size=2):
    parts = list(batches(x, names, batch_size))
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def test_arrays_are_cut_into_batches():
    assert [len(part[0]) for part in batches(A, ("a",), 2)] == [2, 2, 1]
    assert sample_count(A) == 5
    np.testing.assert_array_equal(_joined(A)[0], A)


@pytest.mark.parametrize("x", [[A, B], {"b": B, "a": A}])
def test_several_inputs(x):
    a, b = _joined(x, ("a", "b"))
    np.testing.assert_array_equal(a, A)
    np.testing.assert_array_equal(b, B)
    assert sample_count(x) == 5
    assert not is_streamed(x)


class _Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return A[2 * index : 2 * index + 2], np.zeros(2)


def _generator():
    yield A[:4], np.zeros(4)
    yield A[4:], np.zeros(1)


@pytest.mark.parametrize(
    "x", [_Dataset(), _generator(), iter([A[:4], A[4:]]), ({"a": part} for part in (A[:4], A[4:]))]
)
def test_streams_of_batches_with_labels_or_without(x):
    assert is_streamed(x)
    assert sample_count(x) is None
    np.testing.assert_array_equal(_joined(x)[0], A)


@pytest.mark.tensorflow
def test_a_tensorflow_dataset():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((A, np.zeros(5))).batch(2)
    np.testing.assert_array_equal(_joined(dataset)[0], A)


def test_a_missing_input():
    with pytest.raises(ValueError, match=r"Expected inputs named \['a', 'b'\]\. Received: \['a'\]"):
        arrays_of({"a": A}, ("a", "b"))


class _Endless(_Dataset):
    @property
    def num_batches(self):
        return None


def test_a_dataset_without_an_end():
    with pytest.raises(
        ValueError, match=r"a dataset that ends\. Received: a PyDataset of num_batches=None"
    ):
        _joined(_Endless())
