"""Data sets from every kind of source: real files, real images, and mocks of tensorflow-datasets."""

import numpy as np
import pytest

from keras_sbn import data, demo
from keras_sbn.data.tfds import KNOWN
from keras_sbn.deployment import fit_image

PIL = pytest.importorskip("PIL.Image")


def write_images(root, splits=("",), classes=("cat", "dog"), count=10, size=(6, 5), mode="RGB"):
    """PNG files whose pixels say which split, class and file they are."""
    pixels = {}
    for s, split in enumerate(splits):
        for c, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                shape = size if mode == "L" else (*size, 3)
                image = np.full(shape, 100 * s + 50 * c + index, np.uint8)
                PIL.fromarray(image).save(folder / f"{index:03}.png")
                pixels[split, name, index] = image
    return pixels


def tensorflow_datasets():
    """tensorflow-datasets, or a skip where its own dependencies do not fit together."""
    try:
        import tensorflow_datasets as tfds

        _ = tfds.testing
    except Exception as error:
        pytest.skip(f"tensorflow-datasets does not import: {error}")
    return tfds


def test_digits_are_those_of_the_demo():
    dataset = data.load()
    assert (dataset.input_shape, dataset.classes) == ((8, 8, 1), 10)
    assert dataset.class_names[3] == "3"
    assert dataset.augmentation is None
    (x_train, y_train), (x_test, y_test) = demo.digits()
    for split, x, y in (("train", x_train, y_train), ("validation", x_test, y_test)):
        received, labels = dataset.arrays(split)
        np.testing.assert_array_equal(received, x)
        np.testing.assert_array_equal(labels, y)
        assert np.bincount(labels).min() >= 0.9 * len(labels) / 10
    assert (x_train.dtype, x_train.min(), x_train.max()) == ("float32", 0, 1)
    assert data.load("digits", image_size=(16, 16)).input_shape == (16, 16, 1)


def test_folder_without_splits_holds_out_a_share_of_every_class(tmp_path):
    write_images(tmp_path)
    dataset = data.load(tmp_path, validation_split=0.2)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.input_shape == (6, 5, 3)
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]
    assert np.bincount(dataset.validation.labels).tolist() == [2, 2]
    seen = []
    for part in (dataset.train, dataset.validation):
        values = part.images[:][:, 0, 0, 0]
        np.testing.assert_array_equal(values // 50, part.labels)
        seen += values.tolist()
    assert sorted(seen) == [*range(10), *range(50, 60)]
    again = data.load(tmp_path, validation_split=0.2)
    other = data.load(tmp_path, validation_split=0.2, seed=1)
    np.testing.assert_array_equal(again.validation.images[:], dataset.validation.images[:])
    assert (other.validation.images[:] != dataset.validation.images[:]).any()


@pytest.mark.parametrize("validation", ["validation", "val", "test"])
def test_folder_with_splits(validation, tmp_path):
    write_images(tmp_path, ("train", validation), count=3)
    dataset = data.load(str(tmp_path))
    assert (len(dataset.train), len(dataset.validation)) == (6, 6)
    assert dataset.train.images[:].max() == 52
    assert sorted(dataset.validation.images[:,][:, 0, 0, 0]) == [100, 101, 102, 150, 151, 152]


def test_folder_of_grey_images_of_several_sizes(tmp_path):
    write_images(tmp_path, count=3, mode="L")
    PIL.fromarray(np.full((9, 20), 7, np.uint8)).save(tmp_path / "cat" / "large.png")
    dataset = data.load(tmp_path, image_size=(4, 8), validation_split=0.3)
    assert dataset.input_shape == (4, 8, 1)
    values = np.concatenate([dataset.train.images[:], dataset.validation.images[:]])
    assert values.shape == (7, 4, 8, 1)
    assert sorted(np.unique(values)) == [0, 1, 2, 7, 50, 51, 52]
    whole = data.load(tmp_path, validation_split=0.3)
    with pytest.raises(ValueError, match="Give `image_size` to bring all to one size"):
        np.concatenate([whole.train.images[:], whole.validation.images[:]])


def test_training_sees_what_a_device_makes_of_a_picture(tmp_path, rng):
    photographs = rng.integers(0, 256, (4, 20, 31, 3), dtype="uint8")
    (tmp_path / "cat").mkdir()
    turned = PIL.Exif()
    turned[0x0112] = 6  # Orientation: what was stored has to be turned clockwise.
    for index, photograph in enumerate(photographs):
        more = {"exif": turned} if index == 3 else {}
        PIL.fromarray(photograph).save(tmp_path / f"cat/{index}.png", **more)
    (tmp_path / "dog").mkdir()
    PIL.fromarray(photographs[0]).save(tmp_path / "dog/0.png")
    PIL.fromarray(photographs[0]).save(tmp_path / "dog/1.png")
    upright = [*photographs[:3], np.rot90(photographs[3], -1)]
    dataset = data.load(tmp_path, image_size=(6, 8), validation_split=0.5, seed=1)
    seen = np.concatenate([dataset.train.images[:], dataset.validation.images[:]])
    wanted = {fit_image(photograph, 6, 8).tobytes() for photograph in upright}
    assert {image.tobytes() for image in seen} == wanted


def test_images_without_files_are_brought_to_size_in_the_same_way(tmp_path, rng):
    x = rng.integers(0, 256, (4, 9, 7, 3), dtype="uint8")
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.array([0, 0, 1, 1]))
    dataset = data.load(tmp_path / "x.npz", image_size=(4, 4), validation_split=0.5)
    seen = np.concatenate([dataset.train.images[:], dataset.validation.images[:]])
    assert {image.tobytes() for image in seen} == {fit_image(image, 4, 4).tobytes() for image in x}


@pytest.mark.parametrize("cache_bytes", [1 << 20, 0])
def test_files_are_read_once_where_memory_allows(cache_bytes, tmp_path):
    write_images(tmp_path)
    dataset = data.load(tmp_path, cache_bytes=cache_bytes)
    first = dataset.train.images[:]
    for file in tmp_path.glob("cat/*.png"):
        file.unlink()
    if cache_bytes:
        np.testing.assert_array_equal(dataset.train.images[:], first)
    else:
        with pytest.raises(ValueError, match="No such file"):
            dataset.train.images[:]


def test_broken_file_is_named(tmp_path):
    write_images(tmp_path)
    (tmp_path / "dog" / "000.png").write_text("no image")
    dataset = data.load(tmp_path)
    with pytest.raises(ValueError, match=r"Expected an image that Pillow reads. Received: .*000.png"):
        _ = dataset.train.images[:], dataset.validation.images[:]


def test_npz_as_keras_has_it(tmp_path, rng):
    x, y = rng.integers(0, 256, (20, 6, 6)).astype("uint8"), np.arange(20) % 4
    np.savez(tmp_path / "both.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    dataset = data.load(tmp_path / "both.npz")
    assert (dataset.input_shape, dataset.classes, len(dataset.validation)) == ((6, 6, 1), 4, 5)
    np.testing.assert_array_equal(dataset.train.images[:], x[..., np.newaxis])
    scaled, labels = dataset.arrays("validation", 3)
    np.testing.assert_array_equal(scaled[..., 0], x[:3] / np.float32(128) - 1)
    np.testing.assert_array_equal(labels, y[:3])
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y[:, np.newaxis])
    dataset = data.load(tmp_path / "one.npz", validation_split=0.4, image_size=(3, 3))
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 4
    assert dataset.input_shape == (3, 3, 1)
    np.savez(tmp_path / "wrong.npz", images=x)
    with pytest.raises(ValueError, match=r"Received: .*wrong.npz with none of them"):
        data.load(tmp_path / "wrong.npz")
    np.savez(tmp_path / "floats.npz", x_train=x / 255, y_train=y)
    with pytest.raises(ValueError, match="Expected images as uint8"):
        data.load(tmp_path / "floats.npz")


#: Shape, number of classes, name of the first one and the usual augmentation of the data sets with names.
#: Where the names of classes are in the files that the mock stands for, it has numbers.
NAMED = {
    "mnist": ((28, 28, 1), 10, "0", data.Augmentation(2, flip=False)),
    "fashion_mnist": ((28, 28, 1), 10, "T-shirt/top", data.Augmentation(2, flip=True)),
    "cifar10": ((32, 32, 3), 10, "0", data.Augmentation(4, flip=True)),
    "cifar100": ((32, 32, 3), 100, "0", data.Augmentation(4, flip=True)),
    "svhn": ((32, 32, 3), 10, "0", data.Augmentation(4, flip=False)),
    "imagenet": ((224, 224, 3), 1000, "n01440764", data.Augmentation(28, flip=True)),
}


def test_every_name_is_tested():
    assert set(NAMED) == set(KNOWN)


@pytest.mark.parametrize("name", NAMED)
def test_tensorflow_datasets_by_name(name, tmp_path):
    tfds = tensorflow_datasets()
    shape, classes, first, augmentation = NAMED[name]
    with tfds.testing.mock_data(num_examples=7):
        dataset = data.load(name, data_dir=tmp_path)
        images = dataset.train.images[:]
        x, y = dataset.batches("train", 4)[0]
    assert (images.shape, images.dtype) == ((7, *shape), np.uint8)
    assert len(dataset.validation) == 7
    assert len(dataset.class_names) == dataset.classes == classes
    assert dataset.class_names[0] == first
    assert dataset.augmentation == augmentation
    assert (x.shape, x.dtype, y.shape) == ((4, *shape), np.float32, (4,))


@pytest.mark.tensorflow
def test_image_folder_of_tensorflow_datasets_is_the_same_folder(tmp_path):
    tfds = tensorflow_datasets()
    write_images(tmp_path, ("train", "test"), count=3)
    ours = data.load(tmp_path)
    theirs = data.load(tfds.folder_dataset.ImageFolder(str(tmp_path)))
    assert theirs.class_names == ours.class_names
    for split in ("train", "validation"):
        pairs = []
        for dataset in (ours, theirs):
            x, y = dataset.arrays(split)
            order = np.argsort(x[:, 0, 0, 0], kind="stable")
            pairs.append((x[order], y[order]))
        np.testing.assert_array_equal(pairs[0][0], pairs[1][0])
        np.testing.assert_array_equal(pairs[0][1], pairs[1][1])


def test_unknown_names_and_paths(tmp_path):
    with pytest.raises(ValueError, match="which does not exist"):
        data.load(tmp_path / "nothing.npz")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ValueError, match="which is neither"):
        data.load(tmp_path / "file.txt")
    with pytest.raises(ValueError, match="Expected a folder with a folder for every class"):
        data.load(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="Expected images"):
        data.load(tmp_path)
    with pytest.raises(ValueError, match="samples have an 'image' and a 'label'"):
        data.load(3)
    tensorflow_datasets()
    with pytest.raises(ValueError, match="Received: 'no_such_data'"):
        data.load("no_such_data")


def test_classes_that_training_does_not_know(tmp_path):
    write_images(tmp_path, ("train",), count=3)
    write_images(tmp_path, ("test",), ("cat", "horse"), count=3)
    with pytest.raises(ValueError, match=r"Received others: \['horse'\]"):
        data.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 1.0}, "Expected `validation_split` to be between 0 and 1"),
        ({"input_scaling": (0, 1)}, "positive scale"),
        ({"augmentation": "wild"}, "Expected `augmentation`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)


def test_choices_of_ones_own():
    augmentation = data.Augmentation(pad=1, flip=False)
    dataset = data.load("digits", input_scaling=(1 / 8, -1), augmentation=augmentation)
    assert dataset.augmentation is augmentation
    x, _ = dataset.arrays()
    assert (x.min(), x.max()) == (-1, 1)
    small = dataset.take(train=50, validation=20)
    assert (len(small.train), len(small.validation)) == (50, 20)
    assert len(np.unique(small.train.labels)) > 5
    whole = {image.tobytes() for image in x}
    assert all(image.tobytes() in whole for image in small.arrays()[0])
    np.testing.assert_array_equal(small.arrays()[0], dataset.take(validation=20).arrays()[0])


def test_a_console_shows_one_short_line():
    dataset = data.load()
    train, validation = len(dataset.train), len(dataset.validation)
    sizes = f"{train:,} for training, {validation:,} for validation"
    assert repr(dataset) == f"<ImageDataset 'digits': 10 classes, images (8, 8, 1), {sizes}>"
    assert repr(dataset.train) == f"<Split of {train:,} images (8, 8, 1)>"
