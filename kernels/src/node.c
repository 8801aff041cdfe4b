#include "node.h"

int64_t sbn_elements(const sbn_tensor *tensor) {
  int64_t elements = 1;
  for (int i = 0; i < tensor->rank; ++i) {
    if (tensor->shape[i] < 1) return 0;
    elements *= tensor->shape[i];
    if (elements > INT32_MAX / 4) return 0;
  }
  return elements;
}

int sbn_same_shape(const sbn_tensor *a, const sbn_tensor *b) {
  if (a->rank != b->rank) return 0;
  for (int i = 0; i < a->rank; ++i) {
    if (a->shape[i] != b->shape[i]) return 0;
  }
  return 1;
}

size_t sbn_tensor_bytes(const sbn_tensor *tensor, int batch) {
  size_t width = tensor->type == TYPE_FLOAT32 || tensor->type == TYPE_INT32 ? 4 : 1;
  return (size_t)sbn_elements(tensor) * (size_t)batch * width;
}

int sbn_batch_fits(const sbn_node *node, int batch) {
  int fits = batch >= 1 && batch <= 1 << 20;
  for (int i = 0; i < node->num_inputs; ++i) {
    fits = fits && (uint64_t)sbn_elements(&node->inputs[i]) * 4 * (uint64_t)batch <= PTRDIFF_MAX;
  }
  for (int i = 0; i < node->num_outputs; ++i) {
    fits = fits && (uint64_t)sbn_elements(&node->outputs[i]) * 4 * (uint64_t)batch <= PTRDIFF_MAX;
  }
  return fits;
}

int sbn_window(int64_t size, int64_t window, int64_t stride, int64_t dilation, int64_t padding,
               int32_t *output, int32_t *before, const char *name, sbn_message *message) {
  const int64_t most = 1 << 20;
  if (window < 1 || window > most || stride < 1 || stride > most || dilation < 1 || dilation > most ||
      size < 1 || size > most) {
    return sbn_fail(message,
                    "%s: expected positive sizes, strides and dilations. Received: a map of %lld, "
                    "a window of %lld, stride %lld, dilation %lld",
                    name, (long long)size, (long long)window, (long long)stride, (long long)dilation);
  }
  if (padding != PADDING_SAME && padding != PADDING_VALID) {
    return sbn_fail(message, "%s: expected padding SAME or VALID. Received: %lld", name,
                    (long long)padding);
  }
  int64_t effective = (window - 1) * dilation + 1;
  if (padding == PADDING_VALID && effective > size) {
    return sbn_fail(message, "%s: expected a window within the map. Received: %lld of %lld", name,
                    (long long)effective, (long long)size);
  }
  int64_t count =
      padding == PADDING_SAME ? (size + stride - 1) / stride : (size - effective) / stride + 1;
  int64_t total = (count - 1) * stride + effective - size;
  *output = (int32_t)count;
  *before = (int32_t)(total > 0 ? total / 2 : 0);
  return 1;
}
