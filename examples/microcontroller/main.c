/* Classifies images of handwritten digits with the network of docs/microcontrollers.md.
 *
 * Here images come as bytes from standard input, 64 each; a device has them from its camera or sensor.
 *
 *     gcc -std=c99 -O2 -ffp-contract=off main.c digits.c -o digits && ./digits < images.bin
 */
#include "digits.h"
#include <stdio.h>

int main(void)
{
    static uint8_t image[DIGITS_INPUT_SIZE];
    static float logits[DIGITS_OUTPUT_SIZE];

    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        int best = 0;
        digits_run(image, logits);
        for (int i = 1; i < DIGITS_OUTPUT_SIZE; i++)
            if (logits[i] > logits[best])
                best = i;
        printf("%s\n", digits_labels[best]);
    }
    return 0;
}
