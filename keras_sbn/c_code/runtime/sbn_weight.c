static inline float sbn_weight(const sbn_weights *kernel, int32_t i)
{
    return kernel->floats ? kernel->floats[i] : kernel->scale * (float)kernel->integers[i];
}
