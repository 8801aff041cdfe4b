"""Batches depend on the seed and the epoch, and on nothing else."""

import numpy as np
import pytest

from keras_sbn import data


def batches(samples=10, **options):
    images = np.arange(samples, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 5, 1), np.uint8)
    options = {"batch_size": 4, "shuffle": True, **options}
    return data.Batches(images, np.arange(samples), (1 / 128, -1.0), **options)


def epoch_of(found):
    x, y = zip(*(found[i] for i in range(len(found))), strict=True)
    return np.concatenate(x), np.concatenate(y)


def test_every_epoch_has_its_own_order_and_drops_other_samples():
    found = batches()
    assert len(found) == found.num_batches == 2
    epochs = []
    for _ in range(20):
        x, y = epoch_of(found)
        np.testing.assert_array_equal(x[:, 0, 0, 0], y / np.float32(128) - 1)
        assert len(set(y)) == 8
        epochs.append(tuple(y))
        found.on_epoch_end()
    assert len(set(epochs)) == 20
    assert set(np.ravel(epochs)) == set(range(10))


def test_a_resumed_training_sees_what_the_uninterrupted_one_sees():
    augmentation = data.Augmentation(pad=1)
    found = batches(augmentation=augmentation)
    for _ in range(3):
        epoch_of(found)
        found.on_epoch_end()
    found.on_epoch_end()  # nothing was read since: the same epoch
    resumed = batches(augmentation=augmentation, first_epoch=3)
    for ours, theirs in zip(epoch_of(found), epoch_of(resumed), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = batches(augmentation=augmentation, first_epoch=3, seed=1)
    assert (epoch_of(other)[1] != epoch_of(found)[1]).any()


def test_validation_comes_in_order_and_whole():
    found = batches(shuffle=False)
    assert [len(y) for _, y in found] == [4, 4, 2]
    np.testing.assert_array_equal(epoch_of(found)[1], np.arange(10))
    assert found[0][1].dtype == np.int32
    found.on_epoch_end()
    np.testing.assert_array_equal(epoch_of(found)[1], np.arange(10))


def test_last_batch_is_filled_up_for_several_devices_with_weights_of_zero():
    found = batches(samples=9, shuffle=False, multiple_of=2)
    x, y, weights = found[2]
    assert (len(x), len(y)) == (2, 2)
    assert weights.tolist() == [1, 0]
    total = sum(weights.sum() for _, _, weights in found)
    assert total == 9


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_may_be_read_in_any_order_and_twice(threads):
    found = batches(samples=40, threads=threads)
    expected = [found[index][1].tolist() for index in range(10)]
    for index in (9, 3, 3, 0):
        assert found[index][1].tolist() == expected[index]


def test_bad_arguments():
    with pytest.raises(ValueError, match="Expected `threads` to be 0 or a positive integer"):
        batches(threads=-1)
    with pytest.raises(ValueError, match="Expected `batch_size` to be a positive integer"):
        batches(batch_size=0)
    with pytest.raises(ValueError, match="at most the 10 training samples"):
        batches(batch_size=11)
    with pytest.raises(ValueError, match="multiple of 3, the number of devices"):
        batches(multiple_of=3)
    with pytest.raises(IndexError):
        batches()[2]
