"""From a folded Keras model to a verified .tflite file."""

from keras_sbn.conversion.convert import convert as convert
from keras_sbn.conversion.converted import ConvertedModel as ConvertedModel
from keras_sbn.conversion.report import ConversionReport as ConversionReport
from keras_sbn.conversion.verify import Verification as Verification
from keras_sbn.conversion.verify import verify as verify
