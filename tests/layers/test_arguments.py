"""The arguments of the layers: Keras's names and order, and a ValueError for each bad one."""

import inspect
import math

import keras
import numpy as np
import pytest

from keras_sbn import layers

PAIRS = [
    (layers.SelfBinarizingDense, keras.layers.Dense),
    (layers.SelfBinarizingConv1D, keras.layers.Conv1D),
    (layers.SelfBinarizingConv2D, keras.layers.Conv2D),
    (layers.SelfBinarizingConv3D, keras.layers.Conv3D),
    (layers.SelfBinarizingDepthwiseConv2D, keras.layers.DepthwiseConv2D),
    (layers.SelfBinarizingSeparableConv2D, keras.layers.SeparableConv2D),
    (layers.SelfBinarizingConv2DTranspose, keras.layers.Conv2DTranspose),
]
#: The first arguments of each layer.
FIRST = {
    layers.SelfBinarizingDense: (4,),
    layers.SelfBinarizingConv1D: (4, 3),
    layers.SelfBinarizingConv2D: (4, 3),
    layers.SelfBinarizingConv3D: (4, 3),
    layers.SelfBinarizingDepthwiseConv2D: (3,),
    layers.SelfBinarizingSeparableConv2D: (4, 3),
    layers.SelfBinarizingConv2DTranspose: (4, 3),
}
WINDOWS = list(FIRST)[1:]
PADDED = WINDOWS[:-1]


def names(layer_class):
    found = inspect.signature(layer_class.__init__).parameters.values()
    positional = [p.name for p in found if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    # Keras's Dense goes on with arguments of LoRA and quantization, and the newest Conv2DTranspose has
    # output_padding, which not every Keras 3 has.
    newer = ("lora_rank", "lora_alpha", "quantization_config", "output_padding")
    return [name for name in positional if name not in newer]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_names_and_order_are_those_of_keras(ours, theirs):
    assert names(ours) == names(theirs)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_defaults_are_those_of_keras_but_for_the_bias(ours, theirs):
    def normalized(layer):
        return {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype", "use_bias")}

    mine, plain = normalized(ours(*FIRST[ours])), normalized(theirs(*FIRST[ours]))
    for name in mine.keys() & plain.keys():
        assert repr(mine[name]) == repr(plain[name]), name


@pytest.mark.parametrize("layer_class", FIRST)
def test_own_arguments_are_in_the_signature(layer_class):
    """So that editors complete them and type checkers know them."""
    # Not of the class: Python 3.10 shows Keras's `__new__` where a class inherits its `__init__`.
    found = inspect.signature(layer_class.__init__).parameters
    own = ["binarize_input", "binarize_kernel", "normalize_kernel", "kernel_scale"]
    own += ["max_gradient_sharpness"] + ["pad_value"] * (layer_class in PADDED)
    config = layer_class(*FIRST[layer_class]).get_config()
    for name in own:
        assert found[name].kind is inspect.Parameter.KEYWORD_ONLY, name
        assert found[name].default == config[name], name
        assert found[name].annotation not in ("Any", inspect.Parameter.empty), name
    # What is left in **kwargs is Keras's own.
    documented = {"name", "dtype", "trainable"}
    assert set(config) - documented == set(found) - {"self", "kwargs"}


def bad(layer_class, received, **arguments):
    return pytest.param(layer_class, arguments, received, id=f"{layer_class.__name__}-{received}")


BAD_ARGUMENTS = [
    *(bad(c, "kernel_scale='max'", kernel_scale="max") for c in FIRST),
    *(bad(c, "binarize_kernel=False", kernel_scale="mean", binarize_kernel=False) for c in FIRST),
    *(bad(c, "max_gradient_sharpness=0", max_gradient_sharpness=0) for c in FIRST),
    bad(layers.SelfBinarizingDense, "max_gradient_sharpness=inf", max_gradient_sharpness=math.inf),
    bad(layers.SelfBinarizingDense, "max_gradient_sharpness='1'", max_gradient_sharpness="1"),
    bad(layers.SelfBinarizingDense, "units=0", units=0),
    bad(layers.SelfBinarizingDense, "units=2.0", units=2.0),
    *(bad(c, "kernel_size=0", kernel_size=0) for c in WINDOWS),
    *(bad(c, "kernel_size=None", kernel_size=None) for c in WINDOWS),
    *(bad(c, r"kernel_size=\(3, 3, 3, 3\)", kernel_size=(3, 3, 3, 3)) for c in WINDOWS),
    *(bad(c, "strides='2'", strides="2") for c in WINDOWS),
    *(bad(c, "dilation_rate=True", dilation_rate=True) for c in WINDOWS),
    *(bad(c, r"strides=.*dilation_rate=\(2", strides=2, dilation_rate=2) for c in WINDOWS),
    *(bad(c, "padding='full'", padding="full") for c in WINDOWS),
    *(bad(c, "padding=1", padding=1) for c in WINDOWS),
    *(bad(c, "padding='causal'", padding="causal") for c in WINDOWS[1:]),
    *(bad(c, "data_format='NHWC'", data_format="NHWC") for c in WINDOWS),
    *(bad(c, "pad_value=nan", pad_value=math.nan) for c in PADDED),
    *(bad(c, "pad_value='1'", pad_value="1") for c in PADDED),
    *(bad(c, "filters=-1", filters=-1) for c in WINDOWS if "Depthwise" not in c.__name__),
    *(bad(c, "filters=True", filters=True) for c in WINDOWS if "Depthwise" not in c.__name__),
    *(bad(c, "groups=3", groups=3) for c in WINDOWS[:3]),
    *(bad(c, "groups=0", groups=0) for c in WINDOWS[:3]),
    *(bad(c, "depth_multiplier=0", depth_multiplier=0) for c in WINDOWS[3:5]),
    *(bad(c, r"strides=\(1, 2\)", strides=(1, 2)) for c in WINDOWS[3:5]),
    bad(layers.SelfBinarizingConv2DTranspose, "output_padding=-1", output_padding=-1),
    bad(layers.SelfBinarizingConv2DTranspose, "output_padding=2", output_padding=2, strides=2),
    bad(layers.SelfBinarizingActivation, "max_gradient_sharpness=-1", max_gradient_sharpness=-1),
    bad(layers.BinaryBatchNormalization, "momentum=1", momentum=1),
    bad(layers.BinaryBatchNormalization, "epsilon=0", epsilon=0),
]


@pytest.mark.parametrize(("layer_class", "arguments", "received"), BAD_ARGUMENTS)
def test_bad_argument(layer_class, arguments, received):
    positional = FIRST.get(layer_class, ())
    first = names(layer_class)[1 : 1 + len(positional)]
    with pytest.raises(ValueError, match=rf"Expected .*Received: .*{received}"):
        layer_class(**{**dict(zip(first, positional, strict=True)), **arguments})


def test_unknown_argument():
    with pytest.raises(ValueError, match="pad_value"):
        layers.SelfBinarizingConv2DTranspose(4, 3, pad_value=1.0)
    with pytest.raises(ValueError, match="sharpness"):
        layers.SelfBinarizingDense(4, sharpness=1.0)


@pytest.mark.parametrize("layer_class", WINDOWS)
def test_bad_input_shape(layer_class):
    rank = layer_class.rank
    layer = layer_class(*FIRST[layer_class])
    with pytest.raises(ValueError, match=r"Expected axis -1 .*known size.*Received: input_shape"):
        layer.build((None,) * (rank + 2))
    with pytest.raises(ValueError, match="incompatible"):
        layer_class(*FIRST[layer_class])(np.ones((2,) * (rank + 1)))
    layer.build((None,) + (5,) * rank + (4,))
    with pytest.raises(ValueError, match="incompatible"):
        layer(np.ones((1,) + (5,) * rank + (6,)))


@pytest.mark.parametrize("layer_class", PADDED)
def test_input_smaller_than_the_window(layer_class):
    layer = layer_class(*FIRST[layer_class])
    with pytest.raises(ValueError, match=r"at least as large as the kernel. Received: input sizes"):
        layer.build((None,) + (2,) * layer_class.rank + (4,))


@pytest.mark.parametrize("layer_class", WINDOWS[:3])
def test_groups_that_do_not_divide_the_input_channels(layer_class):
    layer = layer_class(4, 3, groups=4)
    with pytest.raises(ValueError, match=r"Expected .*groups.*Received: input_shape=.*groups=4"):
        layer.build((None,) + (5,) * layer_class.rank + (6,))


def test_dense_needs_known_features():
    with pytest.raises(ValueError, match=r"Expected the last dimension .*Received: input_shape"):
        layers.SelfBinarizingDense(4).build((2, None))


@pytest.mark.parametrize("layer_class", list(FIRST))
def test_kernels_that_cannot_be_read(layer_class):
    shape = (1,) + (5,) * getattr(layer_class, "rank", 0) + (4,)
    layer = layer_class(*FIRST[layer_class])
    readers = [layer.binary_kernel, layer.kernel_scale_values]
    if layer_class is layers.SelfBinarizingSeparableConv2D:
        readers += [layer.binary_depthwise_kernel, layer.binary_pointwise_kernel]
    for read in readers:
        with pytest.raises(ValueError, match=r"Expected layer .* to be built"):
            read()
    layer.build(shape)
    for weight in layer.trainable_weights:
        weight.assign(np.full(weight.shape, np.nan))
        with pytest.raises(ValueError, match=r"Expected the kernel of layer .* to be finite. Received"):
            layer.binary_kernel()
        weight.assign(np.ones(weight.shape))
    floating = layer_class(*FIRST[layer_class], binarize_kernel=False)
    floating.build(shape)
    with pytest.raises(ValueError, match="Received: binarize_kernel=False"):
        floating.binary_kernel()


def test_integers_of_numpy_are_saved_as_integers():
    layer = layers.SelfBinarizingConv2D(np.int64(4), [np.int64(3), 2], strides=np.int32(2))
    config = layer.get_config()
    assert (config["filters"], config["kernel_size"], config["strides"]) == (4, (3, 2), (2, 2))
    assert all(type(size) is int for size in (config["filters"], *config["kernel_size"]))


def test_keras_setting_of_the_data_format():
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        layer = layers.SelfBinarizingConv2D(4, 3)
        assert layer.compute_output_shape((1, 2, 8, 9)) == (1, 4, 6, 7)
    finally:
        keras.config.set_image_data_format(before)
