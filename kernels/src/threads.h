/* A loop shared by several threads. */
#ifndef SBN_THREADS_H_
#define SBN_THREADS_H_

#include <stddef.h>

typedef struct sbn_threads sbn_threads;

/* `count` threads, the caller's among them; NULL where they cannot be had. */
sbn_threads *sbn_threads_open(int count);
int sbn_threads_count(const sbn_threads *threads);

/* Calls `body(context, item, thread)` for every item below `items`, and returns when all are done;
 * `thread` is below the number of threads. */
void sbn_threads_run(sbn_threads *threads, size_t items, void (*body)(void *, size_t, int),
                     void *context);
void sbn_threads_close(sbn_threads *threads);

#endif
