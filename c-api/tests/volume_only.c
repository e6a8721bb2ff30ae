/* Calls one function: the linker drops the rest of the library, the code for other numbers of vectors included. */

#include "rivergram.h"

float x[3][64], volume;

int main(void)
{
    return (int)rivergram_volume3(x[0], 3 * 64, 64, &volume, NULL);
}
