/* Runs of bytes, at most five nested loops of them. */
typedef struct {
    int32_t size[5], step_x[5], step_y[5];
    int32_t run;
} sbn_move;
