"""What hls4ml needs to write folded models for FPGAs: layers that it does not have, and exact types."""

from keras_sbn.hls4ml_model.checks import refuse_functions as refuse_functions
from keras_sbn.hls4ml_model.checks import refuse_if_rounded as refuse_if_rounded
from keras_sbn.hls4ml_model.handlers import handle as handle
