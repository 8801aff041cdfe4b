// Declarations of the parts of TFLite's interface that examples/raspberry_pi uses, to check types with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef enum { kTfLiteNoType = 0, kTfLiteFloat32 = 1, kTfLiteUInt8 = 3, kTfLiteInt8 = 9 } TfLiteType;
typedef struct TfLiteIntArray {
  int size;
  int data[1];
} TfLiteIntArray;
typedef struct TfLiteQuantizationParams {
  float scale;
  int32_t zero_point;
} TfLiteQuantizationParams;
typedef union TfLitePtrUnion {
  float* f;
  uint8_t* uint8;
  int8_t* int8;
} TfLitePtrUnion;
typedef struct TfLiteTensor {
  TfLiteType type;
  TfLitePtrUnion data;
  TfLiteIntArray* dims;
  TfLiteQuantizationParams params;
} TfLiteTensor;

namespace tflite {

class Interpreter {
 public:
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input_tensor(size_t index);
  TfLiteTensor* output_tensor(size_t index);
};

}  // namespace tflite
