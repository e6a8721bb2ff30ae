/* Calls one function: the linker drops the rest of the library. */

#include "rivergram.h"

float x[3][64], volume;

int main(void)
{
    return (int)rivergram_volume(x[0], 3 * 64, 3, 64, NULL, 0, &volume, NULL);
}
