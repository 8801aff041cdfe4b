/* Workers wait for the number of a job to change: for some microseconds awake, since the next layer
 * follows at once, then asleep. Items are taken from a counter.
 *
 * The caller takes items too, and when none is left it waits for the workers that are at one, not for
 * those that the system has not run yet: where others use the processor, that would be long. A worker
 * says that it is inside before it looks whether the job is open, and the caller closes the job before it
 * looks whether anyone is inside, so none reads a job that is over. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE sbn_thread;
typedef SRWLOCK sbn_mutex;
typedef CONDITION_VARIABLE sbn_condition;
#define MUTEX_INIT(m) InitializeSRWLock(m)
#define LOCK(m) AcquireSRWLockExclusive(m)
#define UNLOCK(m) ReleaseSRWLockExclusive(m)
#define CONDITION_INIT(c) InitializeConditionVariable(c)
#define WAIT(c, m) SleepConditionVariableSRW(c, m, INFINITE, 0)
#define WAKE_ALL(c) WakeAllConditionVariable(c)
#define THREAD_RESULT DWORD WINAPI
#define YIELD() SwitchToThread()
#elif defined(__wasi__) || (defined(__EMSCRIPTEN__) && !defined(__EMSCRIPTEN_PTHREADS__))
#define SBN_ONE_THREAD 1
#else
#include <pthread.h>
#include <sched.h>
#define YIELD() sched_yield()
typedef pthread_t sbn_thread;
typedef pthread_mutex_t sbn_mutex;
typedef pthread_cond_t sbn_condition;
#define MUTEX_INIT(m) pthread_mutex_init(m, NULL)
#define LOCK(m) pthread_mutex_lock(m)
#define UNLOCK(m) pthread_mutex_unlock(m)
#define CONDITION_INIT(c) pthread_cond_init(c, NULL)
#define WAIT(c, m) pthread_cond_wait(c, m)
#define WAKE_ALL(c) pthread_cond_broadcast(c)
#define THREAD_RESULT void *
#endif

#if defined(SBN_ONE_THREAD)

struct sbn_threads {
  int count;
};

sbn_threads *sbn_threads_open(int count) {
  (void)count;
  sbn_threads *threads = calloc(1, sizeof *threads);
  if (threads != NULL) threads->count = 1;
  return threads;
}

int sbn_threads_count(const sbn_threads *threads) { return threads->count; }

void sbn_threads_run(sbn_threads *threads, size_t items, void (*body)(void *, size_t, int),
                     void *context) {
  (void)threads;
  for (size_t item = 0; item < items; ++item) body(context, item, 0);
}

void sbn_threads_close(sbn_threads *threads) { free(threads); }

#else

/* Looks at the job's number before sleeping, about 20 microseconds. */
enum { LOOKS = 4000 };

typedef struct {
  sbn_threads *threads;
  int index;
  sbn_thread handle;
} sbn_worker;

struct sbn_threads {
  int count, started;
  sbn_worker *workers;
  sbn_mutex mutex;
  sbn_condition wake;
  atomic_uint job;
  atomic_int inside, open, stop;
  atomic_size_t next;
  size_t items;
  void (*body)(void *, size_t, int);
  void *context;
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void take_items(sbn_threads *threads, int index) {
  for (;;) {
    size_t item = atomic_fetch_add(&threads->next, 1);
    if (item >= threads->items) return;
    threads->body(threads->context, item, index);
  }
}

static THREAD_RESULT work(void *argument) {
  sbn_worker *worker = argument;
  sbn_threads *threads = worker->threads;
  unsigned seen = 0;
  for (;;) {
    for (int look = 0; look < LOOKS && atomic_load(&threads->job) == seen; ++look) relax();
    if (atomic_load(&threads->job) == seen) {
      LOCK(&threads->mutex);
      while (atomic_load(&threads->job) == seen) WAIT(&threads->wake, &threads->mutex);
      UNLOCK(&threads->mutex);
    }
    seen = atomic_load(&threads->job);
    if (atomic_load(&threads->stop)) return 0;
    atomic_fetch_add(&threads->inside, 1);
    if (atomic_load(&threads->open)) take_items(threads, worker->index);
    atomic_fetch_sub(&threads->inside, 1);
  }
}

static int start(sbn_worker *worker) {
#if defined(_WIN32)
  worker->handle = CreateThread(NULL, 0, work, worker, 0, NULL);
  return worker->handle != NULL;
#else
  return pthread_create(&worker->handle, NULL, work, worker) == 0;
#endif
}

static void join(sbn_worker *worker) {
#if defined(_WIN32)
  WaitForSingleObject(worker->handle, INFINITE);
  CloseHandle(worker->handle);
#else
  pthread_join(worker->handle, NULL);
#endif
}

sbn_threads *sbn_threads_open(int count) {
  sbn_threads *threads = calloc(1, sizeof *threads);
  if (threads == NULL) return NULL;
  threads->count = count;
  MUTEX_INIT(&threads->mutex);
  CONDITION_INIT(&threads->wake);
  threads->workers = calloc((size_t)count, sizeof *threads->workers);
  for (int i = 0; threads->workers != NULL && i < count - 1; ++i) {
    threads->workers[i].threads = threads;
    threads->workers[i].index = i + 1;
    if (!start(&threads->workers[i])) break;
    ++threads->started;
  }
  if (threads->started != count - 1) {
    sbn_threads_close(threads);
    return NULL;
  }
  return threads;
}

int sbn_threads_count(const sbn_threads *threads) { return threads->count; }

static void announce(sbn_threads *threads) {
  LOCK(&threads->mutex);
  atomic_fetch_add(&threads->job, 1);
  WAKE_ALL(&threads->wake);
  UNLOCK(&threads->mutex);
}

void sbn_threads_run(sbn_threads *threads, size_t items, void (*body)(void *, size_t, int),
                     void *context) {
  if (threads->started == 0 || items <= 1) {
    for (size_t item = 0; item < items; ++item) body(context, item, 0);
    return;
  }
  threads->items = items;
  threads->body = body;
  threads->context = context;
  atomic_store(&threads->next, 0);
  atomic_store(&threads->open, 1);
  announce(threads);
  take_items(threads, 0);
  atomic_store(&threads->open, 0);
  for (int look = 0; atomic_load(&threads->inside) != 0; ++look) {
    if (look < LOOKS) {
      relax();
    } else {
      YIELD();
    }
  }
}

void sbn_threads_close(sbn_threads *threads) {
  if (threads == NULL) return;
  atomic_store(&threads->stop, 1);
  announce(threads);
  for (int i = 0; i < threads->started; ++i) join(&threads->workers[i]);
  free(threads->workers);
  free(threads);
}

#endif
