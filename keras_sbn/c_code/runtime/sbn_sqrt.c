static float sbn_sqrt(float x)
{
    return sqrtf(x);
}
