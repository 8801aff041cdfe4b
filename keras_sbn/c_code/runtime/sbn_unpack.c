/* Bits as -1 and +1. */
static void sbn_unpack(const uint32_t *x, float *y, int32_t positions, int32_t channels)
{
    for (int32_t i = 0; i < positions; i++, x += (channels + 31) / 32)
        for (int32_t c = 0; c < channels; c++, y++)
            *y = x[c / 32] >> (c % 32) & 1u ? -1.0f : 1.0f;
}
