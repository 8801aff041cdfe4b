static float sbn_abs(float x)
{
    return fabsf(x);
}
