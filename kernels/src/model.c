#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const sbn_instructions *const INSTRUCTION_SETS[] = {
#if defined(__x86_64__)
    &sbn_avx512,   &sbn_avx2,
#endif
#if defined(__aarch64__)
    &sbn_neon,
#endif
#if defined(__wasm_simd128__)
    &sbn_wasm,
#endif
    &sbn_portable,
};

enum { NUM_SETS = sizeof INSTRUCTION_SETS / sizeof *INSTRUCTION_SETS, MOST_THREADS = 256 };

const char *sbn_version(void) { return "0.1.0"; }

const char *sbn_instruction_set(int index, int *usable) {
  if (index < 0 || index >= (int)NUM_SETS) return NULL;
  if (usable != NULL) *usable = INSTRUCTION_SETS[index]->usable() != 0;
  return INSTRUCTION_SETS[index]->name;
}

static const sbn_instructions *choose(const char *name, sbn_message *message) {
  for (int i = 0; i < (int)NUM_SETS; ++i) {
    const sbn_instructions *set = INSTRUCTION_SETS[i];
    if (name == NULL ? set->usable() : strcmp(name, set->name) == 0) {
      if (set->usable()) return set;
      sbn_fail(message, "Expected an instruction set that this processor has. Received: %.32s", name);
      return NULL;
    }
  }
  sbn_fail(message, "Expected a name of an instruction set of this build. Received: %.32s", name);
  return NULL;
}

sbn_model *sbn_open(const void *file, size_t bytes, int num_threads, const char *instruction_set,
                    char *error, size_t error_bytes) {
  sbn_message message = {.set = 0};
  sbn_model *model = sbn_allocate(1, sizeof *model);
  if (model == NULL) {
    sbn_fail(&message, "Out of memory");
  } else if (num_threads < 1 || num_threads > MOST_THREADS) {
    sbn_fail(&message, "Expected 1 to %d threads. Received: %d", MOST_THREADS, num_threads);
  } else {
    model->instructions = choose(instruction_set, &message);
    model->threads = message.set ? NULL : sbn_threads_open(num_threads);
    if (!message.set && model->threads == NULL)
      sbn_fail(&message, "Expected %d threads to start", num_threads);
    if (!message.set) sbn_read_model(model, file, bytes, &message);
  }
  if (!message.set) return model;
  if (error != NULL && error_bytes > 0) snprintf(error, error_bytes, "%s", message.text);
  sbn_close(model);
  return NULL;
}

const void *sbn_file(const sbn_model *model, size_t *bytes) {
  *bytes = model->bytes;
  return model->file;
}

const char *sbn_error(sbn_model *model) {
  if (!model->message.set) return NULL;
  memcpy(model->reported, model->message.text, sizeof model->reported);
  model->message.set = 0;
  return model->reported;
}

const char *sbn_used_instruction_set(const sbn_model *model) { return model->instructions->name; }

int sbn_num_nodes(const sbn_model *model) { return model->num_nodes; }

const char *sbn_describe_node(sbn_model *model, int index, double *seconds, int reset) {
  if (index < 0 || index >= model->num_nodes) return NULL;
  if (seconds != NULL) *seconds = model->nodes[index].seconds;
  if (reset) model->nodes[index].seconds = 0;
  return model->nodes[index].description;
}

int sbn_run_node(sbn_model *model, int index, int batch, int num_inputs, const void *const *inputs,
                 const size_t *input_bytes, int num_outputs, void *const *outputs,
                 const size_t *output_bytes) {
  if (index < 0 || index >= model->num_nodes) {
    sbn_fail(&model->message, "Expected a node below %d. Received: %d", model->num_nodes, index);
    return 1;
  }
  sbn_node *node = &model->nodes[index];
  if (num_inputs != node->num_inputs || num_outputs != node->num_outputs ||
      !sbn_batch_fits(node, batch)) {
    sbn_fail(&model->message, "%s: expected %d inputs, %d outputs and a batch", node->description,
             node->num_inputs, node->num_outputs);
    return 1;
  }
  for (int i = 0; i < num_inputs; ++i) {
    if (input_bytes[i] < sbn_tensor_bytes(&node->inputs[i], batch)) {
      sbn_fail(&model->message, "%s: expected %lld bytes of input %d. Received: %lld", node->description,
               (long long)sbn_tensor_bytes(&node->inputs[i], batch), i, (long long)input_bytes[i]);
      return 1;
    }
  }
  for (int i = 0; i < num_outputs; ++i) {
    if (output_bytes[i] < sbn_tensor_bytes(&node->outputs[i], batch)) {
      sbn_fail(&model->message, "%s: expected %lld bytes of output %d. Received: %lld", node->description,
               (long long)sbn_tensor_bytes(&node->outputs[i], batch), i, (long long)output_bytes[i]);
      return 1;
    }
  }
  double started = sbn_seconds();
  node->run(node, batch, inputs, outputs);
  node->seconds += sbn_seconds() - started;
  return 0;
}

void sbn_close(sbn_model *model) {
  if (model == NULL) return;
  sbn_threads_close(model->threads);
  for (int i = 0; i < model->num_nodes; ++i) {
    sbn_node *node = &model->nodes[i];
    if (node->free_plan != NULL) node->free_plan(node->plan);
  }
  sbn_free(model->nodes);
  sbn_free(model->file);
  sbn_free(model);
}
