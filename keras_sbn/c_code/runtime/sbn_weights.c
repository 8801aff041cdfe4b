/* A float kernel: floats, or 8-bit integers and the power of two that they are multiplied by. */
typedef struct {
    const float *floats;
    const int8_t *integers;
    float scale;
} sbn_weights;
