#pragma once

#include "tensorflow/lite/kernels/register.h"

namespace compute_engine::tflite {

void RegisterLCECustomOps(::tflite::MutableOpResolver* resolver, bool use_reference_bconv = false,
                          bool use_indirect_bgemm = false);

}  // namespace compute_engine::tflite
