/* Fuzzes whole files: what is opened is run, on buffers of exactly the size that is asked for.
 *
 * LLVMFuzzerTestOneInput is libFuzzer's; without libFuzzer, `main` damages the files it is given:
 *
 *     fuzz SECONDS FILE...
 *
 * Built with AddressSanitizer and UndefinedBehaviorSanitizer (`make fuzz`), any access outside a buffer
 * ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/model.h"

enum { MOST_BYTES = 1 << 22 };

/* Runs every node whose buffers are of a moderate size; returns how many there were. */
static int run_nodes(sbn_model *model) {
  int run = 0;
  for (int i = 0; i < sbn_num_nodes(model); ++i) {
    const sbn_node *node = &model->nodes[i];
    void *inputs[SBN_MAX_PORTS] = {0}, *outputs[SBN_MAX_PORTS] = {0};
    size_t input_bytes[SBN_MAX_PORTS], output_bytes[SBN_MAX_PORTS], most = 0;
    for (int j = 0; j < node->num_inputs; ++j) {
      input_bytes[j] = sbn_tensor_bytes(&node->inputs[j], 1);
      if (input_bytes[j] > most) most = input_bytes[j];
    }
    for (int j = 0; j < node->num_outputs; ++j) {
      output_bytes[j] = sbn_tensor_bytes(&node->outputs[j], 1);
      if (output_bytes[j] > most) most = output_bytes[j];
    }
    if (most > MOST_BYTES) continue;
    for (int j = 0; j < node->num_inputs; ++j) {
      inputs[j] = malloc(input_bytes[j]);
      for (size_t k = 0; k < input_bytes[j]; ++k) ((uint8_t *)inputs[j])[k] = (uint8_t)(k * 37 + 11);
    }
    for (int j = 0; j < node->num_outputs; ++j) outputs[j] = malloc(output_bytes[j]);
    sbn_run_node(model, i, 1, node->num_inputs, (const void *const *)inputs, input_bytes,
                 node->num_outputs, outputs, output_bytes);
    for (int j = 0; j < SBN_MAX_PORTS; ++j) {
      free(inputs[j]);
      free(outputs[j]);
    }
    ++run;
  }
  return run;
}

static long opened, nodes;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int turn;
  char error[256];
  int usable = 0;
  const char *name = NULL;
  int count = 0;
  while (sbn_instruction_set(count, NULL) != NULL) ++count;
  while (!usable) name = sbn_instruction_set(turn++ % count, &usable);
  /* A copy of exactly this size, so that what is read behind it is noticed. */
  uint8_t *copy = malloc(size ? size : 1);
  if (copy == NULL) return 0;
  memcpy(copy, data, size);
  sbn_model *model = sbn_open(copy, size, 1, name, error, sizeof error);
  free(copy);
  if (model != NULL) {
    ++opened;
    nodes += run_nodes(model);
    sbn_close(model);
  }
  return 0;
}

#if !defined(SBN_LIBFUZZER)
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t draw(uint64_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state % below;
}

int main(int argc, char **argv) {
  static const uint32_t odd[] = {
      0,    1,     2,    3,     4,        8,        31,         32,         33,         0x7f,      0x80,
      0xff, 0x100, 4096, 65536, 1u << 20, 1u << 28, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe};
  if (argc < 3) {
    fprintf(stderr, "fuzz SECONDS FILE...\n");
    return 2;
  }
  long tries = 0;
  double end = sbn_seconds() + atof(argv[1]);
  while (sbn_seconds() < end) {
    FILE *file = fopen(argv[2 + draw((uint64_t)argc - 2)], "rb");
    if (file == NULL) return 2;
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *seed = malloc(size), *data = malloc(size);
    if (seed == NULL || data == NULL || fread(seed, 1, size, file) != size) return 2;
    fclose(file);
    for (int i = 0; i < 200; ++i, ++tries) {
      memcpy(data, seed, size);
      size_t kept = draw(20) == 0 ? (size_t)draw(size) : size;
      for (uint64_t changes = draw(4); changes > 0 && kept >= 8; --changes) {
        size_t at = (size_t)draw(kept - 4);
        if (draw(2) != 0) {
          data[at] = (uint8_t)(draw(2) ? draw(256) : odd[draw(sizeof odd / sizeof *odd)]);
        } else {
          at &= ~(size_t)3;
          uint32_t value = odd[draw(sizeof odd / sizeof *odd)];
          if (draw(3) == 0) {
            memcpy(&value, data + at, 4);
            value += (uint32_t)draw(9) - 4;
          }
          memcpy(data + at, &value, 4);
        }
      }
      LLVMFuzzerTestOneInput(data, kept);
    }
    free(seed);
    free(data);
  }
  printf("%ld files, %ld opened, %ld nodes run, nothing wrong\n", tries, opened, nodes);
  return 0;
}
#endif
