#pragma once

#include "tensorflow/lite/model_builder.h"

namespace tflite {

class MutableOpResolver : public OpResolver {};

namespace ops::builtin {

class BuiltinOpResolver : public MutableOpResolver {};

}  // namespace ops::builtin
}  // namespace tflite
