static float sbn_neg(float x)
{
    return -x;
}
