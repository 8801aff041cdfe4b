static float sbn_log(float x)
{
    return logf(x);
}
