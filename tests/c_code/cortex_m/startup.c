/* What runs before main on a Cortex-M: memory is set up, the floating-point unit switched on, and
   semihosting opened, through which a program prints to the terminal of the emulator. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t data_start[], data_end[], data_stored[], bss_start[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
extern int main(void);

void reset(void);

/* newlib calls them for what C does not have. */
void _init(void);
void _fini(void);
void _init(void) {}
void _fini(void) {}

static void stop(void)
{
    exit(3);
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {
    (uintptr_t)stack_top, (uintptr_t)reset, (uintptr_t)stop, (uintptr_t)stop,
    (uintptr_t)stop,      (uintptr_t)stop,  (uintptr_t)stop,
};

void reset(void)
{
    for (uint32_t *to = data_start, *from = data_stored; to < data_end; to++, from++)
        *to = *from;
    for (uint32_t *to = bss_start; to < bss_end; to++)
        *to = 0;
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
#endif
    initialise_monitor_handles();
    exit(main());
}
