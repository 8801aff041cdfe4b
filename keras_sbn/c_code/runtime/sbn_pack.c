/* The signs of floats as bits, 32 channels a word. */
static void sbn_pack(const float *x, uint32_t *y, int32_t positions, int32_t channels)
{
    for (int32_t i = 0; i < positions; i++)
        for (int32_t c = 0; c < channels; y++) {
            uint32_t bits = 0;
            for (int32_t b = 0; b < 32 && c < channels; b++, c++, x++)
                if (*x < 0.0f)
                    bits |= (uint32_t)1 << b;
            *y = bits;
        }
}
