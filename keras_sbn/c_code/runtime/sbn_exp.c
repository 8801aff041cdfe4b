static float sbn_exp(float x)
{
    return expf(x);
}
