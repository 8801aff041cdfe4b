/* Errors and aligned memory. */
#ifndef SBN_SUPPORT_H_
#define SBN_SUPPORT_H_

#include <stddef.h>
#include <stdint.h>

/* A sentence about what went wrong first; later ones are dropped. */
typedef struct {
  char text[256];
  int set;
} sbn_message;

/* Sets the message, and returns 0 so that a check can return it. */
int sbn_fail(sbn_message *message, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* `count * size` zeroed bytes, aligned to 64 bytes, or NULL. */
void *sbn_allocate(size_t count, size_t size);
void sbn_free(void *memory);

double sbn_seconds(void);

#endif
