static float sbn_round(float x)
{
    return rintf(x);
}
