"""Ten networks after the descriptions of Keras's own examples, narrow, without a thought of binary ones.

The layers, their order and their arguments are those of the examples at keras.io (and, of MobileNet, of
`keras.applications`); widths and depths are smaller, so that a test trains them. Each function takes the
shape of a sample and returns a float model.
"""

from __future__ import annotations

import keras

K = keras.layers


def mnist_convnet(shape=(14, 14, 1), classes=10, width=16):
    """Simple MNIST convnet: biases, fused ReLUs, no normalization, dropout before the classifier."""
    return keras.Sequential(
        [
            keras.Input(shape),
            K.Conv2D(width, 3, activation="relu", name="conv_1"),
            K.MaxPooling2D(2, name="pool_1"),
            K.Conv2D(2 * width, 3, activation="relu", name="conv_2"),
            K.MaxPooling2D(2, name="pool_2"),
            K.Flatten(name="flatten"),
            K.Dropout(0.5, name="dropout"),
            K.Dense(classes, activation="softmax", name="dense"),
        ],
        name="mnist_convnet",
    )


def cifar_vgg(shape=(16, 16, 3), classes=10, width=8):
    """The CIFAR-10 convnet of Keras 2's examples: pairs of convolutions, dropout after every pool."""
    model = [keras.Input(shape)]
    for block, filters in enumerate((width, 2 * width), 1):
        model += [
            K.Conv2D(filters, 3, padding="same", name=f"conv_{block}_1"),
            K.Activation("relu", name=f"relu_{block}_1"),
            K.Conv2D(filters, 3, padding="same", name=f"conv_{block}_2"),
            K.Activation("relu", name=f"relu_{block}_2"),
            K.MaxPooling2D(2, name=f"pool_{block}"),
            K.Dropout(0.25, name=f"dropout_{block}"),
        ]
    model += [
        K.Flatten(name="flatten"),
        K.Dense(4 * width, name="dense_1"),
        K.Activation("relu", name="relu_dense"),
        K.Dropout(0.5, name="dropout_dense"),
        K.Dense(classes, name="dense_2"),
        K.Activation("softmax", name="softmax"),
    ]
    return keras.Sequential(model, name="cifar_vgg")


def resnet_v1(shape=(16, 16, 3), classes=10, width=8):
    """ResNet v1 for CIFAR-10: convolution, normalization, ReLU; projections where the map shrinks."""
    inputs = x = keras.Input(shape)
    x = K.Conv2D(width, 3, padding="same", kernel_regularizer="l2", name="stem")(x)
    x = K.ReLU(name="stem_relu")(K.BatchNormalization(name="stem_bn")(x))
    for stage, filters in enumerate((width, 2 * width), 1):
        for block in (1, 2):
            name, strides = f"stage_{stage}_{block}", 2 if stage > 1 and block == 1 else 1
            y = K.Conv2D(
                filters, 3, strides, padding="same", kernel_regularizer="l2", name=f"{name}_conv_1"
            )(x)
            y = K.ReLU(name=f"{name}_relu_1")(K.BatchNormalization(name=f"{name}_bn_1")(y))
            y = K.Conv2D(filters, 3, padding="same", kernel_regularizer="l2", name=f"{name}_conv_2")(y)
            y = K.BatchNormalization(name=f"{name}_bn_2")(y)
            if strides > 1:
                x = K.Conv2D(filters, 1, strides, padding="same", name=f"{name}_projection")(x)
            x = K.ReLU(name=f"{name}_relu_2")(K.Add(name=f"{name}_add")([x, y]))
    x = K.Flatten(name="flatten")(K.AveragePooling2D(x.shape[1], name="average")(x))
    outputs = K.Dense(classes, "softmax", kernel_initializer="he_normal", name="dense")(x)
    return keras.Model(inputs, outputs, name="resnet_v1")


def resnet_v2(shape=(16, 16, 3), classes=10, width=8):
    """ResNet v2: normalization and ReLU before each convolution, bottlenecks, `keras.ops` sums."""
    inputs = x = keras.Input(shape)
    x = K.Conv2D(width, 3, padding="same", name="stem")(x)
    for stage, filters in enumerate((width, 2 * width), 1):
        for block in (1, 2):
            name, strides = f"stage_{stage}_{block}", 2 if stage > 1 and block == 1 else 1
            y = K.Activation("relu", name=f"{name}_relu_1")(K.BatchNormalization(name=f"{name}_bn_1")(x))
            shortcut = x
            if block == 1:
                shortcut = K.Conv2D(2 * filters, 1, strides, name=f"{name}_projection")(y)
            y = K.Conv2D(filters, 1, strides, use_bias=False, name=f"{name}_conv_1")(y)
            y = K.Activation("relu", name=f"{name}_relu_2")(K.BatchNormalization(name=f"{name}_bn_2")(y))
            y = K.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv_2")(y)
            y = K.Activation("relu", name=f"{name}_relu_3")(K.BatchNormalization(name=f"{name}_bn_3")(y))
            y = K.Conv2D(2 * filters, 1, name=f"{name}_conv_3")(y)
            x = shortcut + y
    x = K.Activation("relu", name="relu")(K.BatchNormalization(name="bn")(x))
    outputs = K.Dense(classes, "softmax", name="dense")(K.GlobalAveragePooling2D(name="average")(x))
    return keras.Model(inputs, outputs, name="resnet_v2")


def mobilenet(shape=(16, 16, 3), classes=10, width=16):
    """MobileNet: depthwise and 1 x 1 convolutions, ReLU6, explicit zero padding, a gate as in V3."""
    inputs = x = keras.Input(shape)
    x = K.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name="conv1")(x)
    x = K.ReLU(6.0, name="conv1_relu")(K.BatchNormalization(name="conv1_bn")(x))
    for block, (filters, strides) in enumerate(((2 * width, 1), (2 * width, 2), (4 * width, 1)), 1):
        if strides == 2:
            x = K.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{block}")(x)
        padding = "same" if strides == 1 else "valid"
        x = K.DepthwiseConv2D(3, strides, padding=padding, use_bias=False, name=f"conv_dw_{block}")(x)
        x = K.ReLU(6.0, name=f"conv_dw_{block}_relu")(K.BatchNormalization(name=f"conv_dw_{block}_bn")(x))
        x = K.Conv2D(filters, 1, padding="same", use_bias=False, name=f"conv_pw_{block}")(x)
        x = K.ReLU(6.0, name=f"conv_pw_{block}_relu")(K.BatchNormalization(name=f"conv_pw_{block}_bn")(x))
    gate = K.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = K.Conv2D(width // 2, 1, activation="relu", name="squeeze_conv")(gate)
    gate = K.Conv2D(4 * width, 1, activation="hard_sigmoid", name="excite_conv")(gate)
    x = K.Multiply(name="excite")([x, gate])
    x = K.GlobalAveragePooling2D(name="average", keepdims=True)(x)
    x = K.Dropout(1e-3, name="dropout")(x)
    x = K.Conv2D(classes, 1, padding="same", name="conv_preds")(x)
    outputs = K.Activation("softmax", name="predictions")(K.Reshape((classes,), name="reshape_2")(x))
    return keras.Model(inputs, outputs, name="mobilenet")


def xception(shape=(16, 16, 3), classes=10, width=16):
    """Image classification from scratch: separable convolutions, strided pools, residual projections."""
    inputs = keras.Input(shape)
    x = K.Rescaling(1.0, name="rescaling")(inputs)
    x = K.Conv2D(width, 3, strides=2, padding="same", name="conv_1")(x)
    x = K.Activation("relu", name="relu_1")(K.BatchNormalization(name="bn_1")(x))
    previous = x
    for block, size in enumerate((2 * width, 3 * width), 1):
        for part in (1, 2):
            x = K.Activation("relu", name=f"block_{block}_relu_{part}")(x)
            x = K.SeparableConv2D(size, 3, padding="same", name=f"block_{block}_conv_{part}")(x)
            x = K.BatchNormalization(name=f"block_{block}_bn_{part}")(x)
        x = K.MaxPooling2D(3, strides=2, padding="same", name=f"block_{block}_pool")(x)
        residual = K.Conv2D(size, 1, strides=2, padding="same", name=f"block_{block}_residual")(previous)
        x = previous = K.Add(name=f"block_{block}_add")([x, residual])
    x = K.SeparableConv2D(4 * width, 3, padding="same", name="conv_last")(x)
    x = K.Activation("relu", name="relu_last")(K.BatchNormalization(name="bn_last")(x))
    x = K.Dropout(0.25, name="dropout")(K.GlobalAveragePooling2D(name="average")(x))
    return keras.Model(inputs, K.Dense(classes, activation=None, name="dense")(x), name="xception")


def audio_conv1d(shape=(64, 1), classes=10, width=16):
    """Speaker recognition: residual blocks of one-dimensional convolutions, then two dense layers."""

    def block(x, filters, convolutions, name):
        shortcut = K.Conv1D(filters, 1, padding="same", name=f"{name}_shortcut")(x)
        for index in range(convolutions - 1):
            x = K.Conv1D(filters, 3, padding="same", name=f"{name}_conv_{index}")(x)
            x = K.Activation("relu", name=f"{name}_relu_{index}")(x)
        x = K.Conv1D(filters, 3, padding="same", name=f"{name}_conv")(x)
        x = K.Activation("relu", name=f"{name}_relu")(K.Add(name=f"{name}_add")([x, shortcut]))
        return K.MaxPool1D(pool_size=2, strides=2, name=f"{name}_pool")(x)

    inputs = keras.Input(shape, name="input")
    x = block(block(block(inputs, width, 2, "block_1"), 2 * width, 2, "block_2"), 2 * width, 3, "block_3")
    x = K.Flatten(name="flatten")(K.AveragePooling1D(pool_size=3, strides=3, name="average")(x))
    x = K.Dense(4 * width, activation="relu", name="dense_1")(x)
    x = K.Dense(2 * width, activation="relu", name="dense_2")(x)
    return keras.Model(inputs, K.Dense(classes, "softmax", name="output")(x), name="audio_conv1d")


def tabular_mlp(shape=(16,), classes=2, width=64):
    """Credit card fraud: dense layers of ReLU with dropout, on normalized features of a table."""
    layers = [keras.Input(shape), K.Dense(width, activation="relu", name="dense_1")]
    for index in (2, 3):
        layers += [
            K.Dense(width, activation="relu", name=f"dense_{index}"),
            K.Dropout(0.3, name=f"dropout_{index}"),
        ]
    return keras.Sequential([*layers, K.Dense(classes, "softmax", name="output")], name="tabular_mlp")


def unet(shape=(16, 16, 3), classes=3, width=8):
    """Image segmentation with a U-Net-like network: transposed convolutions, up-sampling, skips."""
    inputs = keras.Input(shape)
    x = K.Conv2D(width, 3, strides=2, padding="same", name="stem")(inputs)
    x = K.Activation("relu", name="stem_relu")(K.BatchNormalization(name="stem_bn")(x))
    previous = skip = x
    for filters in (2 * width,):
        for part in (1, 2):
            x = K.Activation("relu", name=f"down_relu_{part}")(x)
            x = K.SeparableConv2D(filters, 3, padding="same", name=f"down_conv_{part}")(x)
            x = K.BatchNormalization(name=f"down_bn_{part}")(x)
        x = K.MaxPooling2D(3, strides=2, padding="same", name="down_pool")(x)
        residual = K.Conv2D(filters, 1, strides=2, padding="same", name="down_residual")(previous)
        x = previous = K.Add(name="down_add")([x, residual])
    for filters in (2 * width, width):
        name = f"up_{filters}"
        for part in (1, 2):
            x = K.Activation("relu", name=f"{name}_relu_{part}")(x)
            x = K.Conv2DTranspose(filters, 3, padding="same", name=f"{name}_conv_{part}")(x)
            x = K.BatchNormalization(name=f"{name}_bn_{part}")(x)
        x = K.UpSampling2D(2, name=f"{name}_up")(x)
        residual = K.UpSampling2D(2, name=f"{name}_residual_up")(previous)
        residual = K.Conv2D(filters, 1, padding="same", name=f"{name}_residual")(residual)
        x = previous = K.Add(name=f"{name}_add")([x, residual])
        if filters == 2 * width:
            x = previous = K.Concatenate(name="skip")([x, skip])
    outputs = K.Conv2D(classes, 3, activation="softmax", padding="same", name="masks")(x)
    return keras.Model(inputs, outputs, name="unet")


def multi_input(shape=((14, 14, 1), (8,)), classes=10, width=16):
    """The guide to the Functional API: an image and a table, joined; two outputs, by name."""
    image, table = keras.Input(shape[0], name="image"), keras.Input(shape[1], name="table")
    x = K.Conv2D(width, 3, activation="relu", name="conv_1")(image)
    x = K.Conv2D(2 * width, 3, activation="relu", name="conv_2")(x)
    x = K.GlobalAveragePooling2D(name="average")(K.MaxPooling2D(2, name="pool")(x))
    y = K.Dense(width, activation="relu", name="table_1")(table)
    y = K.Dense(2 * width, activation="relu", name="table_2")(y)
    x = K.Concatenate(name="joined")([x, y])
    x = K.Dense(4 * width, activation="relu", name="dense")(x)
    outputs = {
        "class": K.Dense(classes, name="class")(x),
        "odd": K.Dense(1, activation="sigmoid", name="odd")(x),
    }
    return keras.Model({"image": image, "table": table}, outputs, name="multi_input")


#: By name.
NETWORKS = {
    network.__name__: network
    for network in (
        mnist_convnet,
        cifar_vgg,
        resnet_v1,
        resnet_v2,
        mobilenet,
        xception,
        audio_conv1d,
        tabular_mlp,
        unet,
        multi_input,
    )
}
