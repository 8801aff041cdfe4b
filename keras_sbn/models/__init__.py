"""Known architectures in self-binarizing layers, in the manner of `keras.applications`."""

from keras_sbn.models.bi_real_net import BiRealResNet18 as BiRealResNet18
from keras_sbn.models.bi_real_net import BiRealResNet34 as BiRealResNet34
from keras_sbn.models.binary_alex_net import BinaryAlexNet as BinaryAlexNet
from keras_sbn.models.binary_net import BinaryNet as BinaryNet
from keras_sbn.models.by_name import by_name as by_name
from keras_sbn.models.by_name import names as names
from keras_sbn.models.quick_net import QuickNet as QuickNet
from keras_sbn.models.quick_net import QuickNetLarge as QuickNetLarge
from keras_sbn.models.quick_net import QuickNetSmall as QuickNetSmall
from keras_sbn.models.resnet20 import ResNet20 as ResNet20
from keras_sbn.models.tiny_conv import TinyConv as TinyConv
