/* One-bit kernels for the stock LiteRT runtime.
 *
 * A `.tflite` file with the operators of the Larq Compute Engine (LceQuantize, LceDequantize,
 * LceBMaxPool2d, LceBconv2d) runs in LiteRT 2.1 and later in these steps:
 *
 *     sbn_model *model = sbn_open(file, file_bytes, num_threads, NULL, error, sizeof error);
 *     sbn_register(model, &litert, options);          // `options` is a LiteRtOptions
 *     size_t bytes;
 *     const void *rewritten = sbn_file(model, &bytes);
 *     // LiteRtCreateModelFromBuffer(environment, rewritten, bytes, ...), LiteRtCreateCompiledModel,
 *     // LiteRtRunCompiledModel; after each of these, `sbn_error(model)` is NULL or says what went wrong
 *     // in an operator of this library.
 *     sbn_close(model);                               // after LiteRT's compiled model
 *
 * The file is read, checked and planned by `sbn_open`: a custom operator of LiteRT has no state of its
 * own and no optional inputs, so every one-bit node gets an operator code of its own in a copy of the
 * file, and keeps its kernels, thresholds and geometry in `sbn_model`.
 */
#ifndef SBN_KERNELS_H_
#define SBN_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SBN_EXPORT __declspec(dllexport)
#else
#define SBN_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sbn_model sbn_model;

/* The functions of LiteRT's C API that the kernels call, by address, so that the library links against
 * nothing. `SBN_LITERT` fills it where LiteRT's headers are included. */
typedef struct {
  int (*add_custom_op_kernel)(void *options, const char *name, int version, const void *kernel,
                              void *user_data);              /* LiteRtAddCustomOpKernelOption */
  int (*lock_buffer)(void *buffer, void **memory, int mode); /* LiteRtLockTensorBuffer */
  int (*unlock_buffer)(void *buffer);                        /* LiteRtUnlockTensorBuffer */
  int (*buffer_size)(void *buffer, size_t *bytes);           /* LiteRtGetTensorBufferSize */
} sbn_litert;

#define SBN_LITERT                                                                                   \
  {(int (*)(void *, const char *, int, const void *, void *))LiteRtAddCustomOpKernelOption,          \
   (int (*)(void *, void **, int))LiteRtLockTensorBuffer, (int (*)(void *))LiteRtUnlockTensorBuffer, \
   (int (*)(void *, size_t *))LiteRtGetTensorBufferSize}

/* Version of this library, "major.minor.patch". */
SBN_EXPORT const char *sbn_version(void);

/* Name of the instruction set with this index, fastest first, or NULL past the last one; `*usable` says
 * whether this processor has it. */
SBN_EXPORT const char *sbn_instruction_set(int index, int *usable);

/* Reads a `.tflite` file.
 *
 * file, bytes:     the file; it is copied.
 * num_threads:     at least 1.
 * instruction_set: a name of `sbn_instruction_set`, or NULL for the fastest that the processor has.
 * error:           receives a sentence, ended by 0, where NULL is returned.
 *
 * Returns NULL where the file is damaged, or an operator is not one that the library computes exactly. */
SBN_EXPORT sbn_model *sbn_open(const void *file, size_t bytes, int num_threads,
                               const char *instruction_set, char *error, size_t error_bytes);

/* The file that LiteRT is to be given: 64-byte aligned, owned by the model. */
SBN_EXPORT const void *sbn_file(const sbn_model *model, size_t *bytes);

/* Registers the model's operators with a LiteRtOptions object. Returns 0, or LiteRT's status. */
SBN_EXPORT int sbn_register(sbn_model *model, const sbn_litert *litert, void *options);

/* What went wrong in an operator since the last call, or NULL; LiteRT drops what operators return. */
SBN_EXPORT const char *sbn_error(sbn_model *model);

/* Name of the instruction set that the model's operators run with. */
SBN_EXPORT const char *sbn_used_instruction_set(const sbn_model *model);

/* Number of one-bit nodes of the model. */
SBN_EXPORT int sbn_num_nodes(const sbn_model *model);

/* What node `index` computes, such as "LceBconv2d 3x3/1 128 -> 128, bits", and the seconds that it has
 * run since the model was opened, or since the last call with `reset`. NULL if there is none. */
SBN_EXPORT const char *sbn_describe_node(sbn_model *model, int index, double *seconds, int reset);

/* Runs node `index` alone, without LiteRT: for tests. Sizes are in bytes. Returns 0, or 1 with the
 * reason in `sbn_error`. */
SBN_EXPORT int sbn_run_node(sbn_model *model, int index, int batch, int num_inputs,
                            const void *const *inputs, const size_t *input_bytes, int num_outputs,
                            void *const *outputs, const size_t *output_bytes);

/* Frees the model. */
SBN_EXPORT void sbn_close(sbn_model *model);

#ifdef __cplusplus
}
#endif

#endif /* SBN_KERNELS_H_ */
