/* Four nested loops; a step of 0 repeats values. */
typedef struct {
    int32_t size[4], step_x[4], step_y[4];
} sbn_broadcast;
