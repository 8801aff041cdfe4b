static float sbn_tanh(float x)
{
    return tanhf(x);
}
