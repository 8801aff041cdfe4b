/* Moves runs of bytes to other places: slices, joins, transposes, repeats. */
static void sbn_copy(const void *x, void *y, const sbn_move *m)
{
    const uint8_t *from = x;
    uint8_t *to = y;
    int32_t at[5];
    for (at[0] = 0; at[0] < m->size[0]; at[0]++)
        for (at[1] = 0; at[1] < m->size[1]; at[1]++)
            for (at[2] = 0; at[2] < m->size[2]; at[2]++)
                for (at[3] = 0; at[3] < m->size[3]; at[3]++)
                    for (at[4] = 0; at[4] < m->size[4]; at[4]++) {
                        int32_t i = 0, j = 0;
                        for (int d = 0; d < 5; d++) {
                            i += at[d] * m->step_x[d];
                            j += at[d] * m->step_y[d];
                        }
                        for (int32_t b = 0; b < m->run; b++)
                            to[j + b] = from[i + b];
                    }
}
