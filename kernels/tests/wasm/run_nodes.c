/* Runs nodes without LiteRT, for machines that have none: RUN_NODES INSTRUCTIONS < cases > outputs.
 *
 * A case is three 32-bit numbers (bytes of a file, batch, bytes of all inputs), the file, and the inputs
 * of its first one-bit node, one after another. Outputs come one after another too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/model.h"

static uint8_t *read_bytes(size_t bytes) {
  uint8_t *memory = malloc(bytes ? bytes : 1);
  if (memory == NULL || fread(memory, 1, bytes, stdin) != bytes) {
    fprintf(stderr, "Expected %zu more bytes of a case\n", bytes);
    exit(1);
  }
  return memory;
}

static int run_case(const char *instructions, const uint32_t *header) {
  uint8_t *file = read_bytes(header[0]), *values = read_bytes(header[2]);
  char error[256];
  sbn_model *model = sbn_open(file, header[0], 1, instructions, error, sizeof error);
  if (model == NULL) return fprintf(stderr, "%s\n", error), 1;
  const sbn_node *node = &model->nodes[0];
  int batch = (int)header[1];
  const void *inputs[SBN_MAX_PORTS];
  void *outputs[SBN_MAX_PORTS];
  size_t input_bytes[SBN_MAX_PORTS], output_bytes[SBN_MAX_PORTS], at = 0;
  for (int i = 0; i < node->num_inputs; ++i) {
    inputs[i] = values + at;
    input_bytes[i] = sbn_tensor_bytes(&node->inputs[i], batch);
    at += input_bytes[i];
  }
  if (at != header[2]) return fprintf(stderr, "Expected %zu bytes of inputs\n", at), 1;
  for (int i = 0; i < node->num_outputs; ++i) {
    output_bytes[i] = sbn_tensor_bytes(&node->outputs[i], batch);
    outputs[i] = malloc(output_bytes[i]);
  }
  if (sbn_run_node(model, 0, batch, node->num_inputs, inputs, input_bytes, node->num_outputs, outputs,
                   output_bytes)) {
    return fprintf(stderr, "%s\n", sbn_error(model)), 1;
  }
  for (int i = 0; i < node->num_outputs; ++i) {
    fwrite(outputs[i], 1, output_bytes[i], stdout);
    free(outputs[i]);
  }
  sbn_close(model);
  free(file);
  free(values);
  return 0;
}

int main(int argc, char **argv) {
  uint32_t header[3];
  if (argc != 2) return fprintf(stderr, "run_nodes INSTRUCTIONS < cases > outputs\n"), 2;
  while (fread(header, sizeof header, 1, stdin) == 1) {
    if (run_case(argv[1], header)) return 1;
  }
  return 0;
}
