/* The operators as LiteRT calls them: the structures of litert/c/litert_custom_op_kernel.h and
 * litert_layout.h, which LiteRT keeps stable. LiteRT drops the status that these functions return, so the
 * model keeps the message. */
#include <string.h>

#include "model.h"

typedef struct {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} litert_layout;

typedef struct {
  int (*init)(void *user_data, const void *options, size_t bytes);
  int (*get_output_layouts)(void *user_data, size_t num_inputs, const litert_layout *inputs,
                            size_t num_outputs, litert_layout *outputs);
  int (*run)(void *user_data, size_t num_inputs, void *const *inputs, size_t num_outputs, void **outputs);
  int (*destroy)(void *user_data);
} litert_kernel;

enum { OK = 0, INVALID = 1, LOCK_READ = 0, LOCK_WRITE = 1 };

static int nothing(void *user_data) {
  (void)user_data;
  return OK;
}

static int no_options(void *user_data, const void *options, size_t bytes) {
  (void)user_data, (void)options, (void)bytes;
  return OK;
}

/* The batch that a layout of the planned shape has, or 0. */
static int batch_of(const litert_layout *layout, const sbn_tensor *planned) {
  if ((int)layout->rank != planned->rank) return 0;
  int first = planned->rank > 1;
  for (int i = first; i < planned->rank; ++i) {
    if (layout->dimensions[i] != planned->shape[i]) return 0;
  }
  int batch = first ? layout->dimensions[0] : 1;
  return batch < 1 ? 0 : batch;
}

static int get_output_layouts(void *user_data, size_t num_inputs, const litert_layout *inputs,
                              size_t num_outputs, litert_layout *outputs) {
  sbn_node *node = user_data;
  node->batch = 0;
  int batch = 0;
  for (size_t i = 0; i < num_outputs; ++i) memset(&outputs[i], 0, sizeof outputs[i]);
  if (num_inputs == (size_t)node->num_inputs && num_outputs == (size_t)node->num_outputs) {
    batch = batch_of(&inputs[0], &node->inputs[0]);
    for (size_t i = 1; i < num_inputs; ++i) {
      if (batch_of(&inputs[i], &node->inputs[i]) != batch) batch = 0;
    }
  }
  if (!sbn_batch_fits(node, batch)) {
    sbn_fail(node->message, "%s: expected inputs of the shapes in the file, but for the batch",
             node->description);
    return INVALID;
  }
  for (size_t i = 0; i < num_outputs; ++i) {
    const sbn_tensor *planned = &node->outputs[i];
    outputs[i].rank = (unsigned)planned->rank & 127;
    for (int j = 0; j < planned->rank; ++j) outputs[i].dimensions[j] = planned->shape[j];
    if (planned->rank > 1) outputs[i].dimensions[0] = batch;
  }
  node->batch = batch;
  return OK;
}

static int lock(sbn_node *node, void *buffer, const sbn_tensor *planned, int mode, void **memory) {
  const sbn_litert *litert = node->litert;
  size_t bytes = 0, wanted = sbn_tensor_bytes(planned, node->batch);
  if (litert->buffer_size(buffer, &bytes) != OK || bytes < wanted) {
    return sbn_fail(node->message, "%s: expected a buffer of %lld bytes. Received: %lld",
                    node->description, (long long)wanted, (long long)bytes);
  }
  if (litert->lock_buffer(buffer, memory, mode) != OK || *memory == NULL) {
    return sbn_fail(node->message, "%s: expected a buffer in the processor's memory", node->description);
  }
  return 1;
}

static int run(void *user_data, size_t num_inputs, void *const *inputs, size_t num_outputs,
               void **outputs) {
  sbn_node *node = user_data;
  const sbn_litert *litert = node->litert;
  const void *in[SBN_MAX_PORTS];
  void *out[SBN_MAX_PORTS];
  if (node->batch < 1 || num_inputs != (size_t)node->num_inputs ||
      num_outputs != (size_t)node->num_outputs) {
    sbn_fail(node->message, "%s: expected %d inputs and %d outputs of the planned shapes",
             node->description, node->num_inputs, node->num_outputs);
    return INVALID;
  }
  size_t locked_inputs = 0, locked_outputs = 0;
  int ready = 1;
  for (; ready && locked_inputs < num_inputs; locked_inputs += (size_t)ready) {
    void *memory = NULL;
    ready = lock(node, inputs[locked_inputs], &node->inputs[locked_inputs], LOCK_READ, &memory);
    in[locked_inputs] = memory;
  }
  for (; ready && locked_outputs < num_outputs; locked_outputs += (size_t)ready) {
    ready = lock(node, outputs[locked_outputs], &node->outputs[locked_outputs], LOCK_WRITE,
                 &out[locked_outputs]);
  }
  if (ready) {
    double started = sbn_seconds();
    node->run(node, node->batch, in, out);
    node->seconds += sbn_seconds() - started;
  }
  for (size_t i = 0; i < locked_inputs; ++i) litert->unlock_buffer(inputs[i]);
  for (size_t i = 0; i < locked_outputs; ++i) litert->unlock_buffer(outputs[i]);
  return ready ? OK : INVALID;
}

int sbn_register(sbn_model *model, const sbn_litert *litert, void *options) {
  static const litert_kernel kernel = {no_options, get_output_layouts, run, nothing};
  model->litert = *litert;
  for (int i = 0; i < model->num_nodes; ++i) {
    model->nodes[i].litert = &model->litert;
    int status =
        litert->add_custom_op_kernel(options, model->nodes[i].code, 1, &kernel, &model->nodes[i]);
    if (status != OK) return status;
  }
  return OK;
}
