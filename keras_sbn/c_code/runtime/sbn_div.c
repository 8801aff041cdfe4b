static float sbn_div(float x, float y)
{
    return x / y;
}
