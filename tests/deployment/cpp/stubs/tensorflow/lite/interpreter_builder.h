#pragma once

#include "tensorflow/lite/interpreter.h"
#include "tensorflow/lite/model_builder.h"

namespace tflite {

class InterpreterBuilder {
 public:
  InterpreterBuilder(const FlatBufferModel& model, const OpResolver& op_resolver);
  TfLiteStatus operator()(std::unique_ptr<Interpreter>* interpreter, int num_threads);
};

}  // namespace tflite
