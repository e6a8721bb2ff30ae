/* A program that does nothing: the code of a function is what it adds when the linker is told to keep it. */

int main(void)
{
    return 0;
}
