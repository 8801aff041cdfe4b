"""Callbacks for `model.fit`: sharpen the network, and see how far it has come."""

from keras_sbn.callbacks.hard_validation import HardValidation as HardValidation
from keras_sbn.callbacks.monitor import Monitor as Monitor
from keras_sbn.callbacks.record_weights import RecordWeights as RecordWeights
from keras_sbn.callbacks.sharpen import Sharpen as Sharpen
