static float sbn_ceil(float x)
{
    return ceilf(x);
}
