/* What a Cortex-M4F needs before `main`, and what newlib needs below `printf`: everything that is printed goes to the
 * debugger by semihosting (Arm's "Semihosting for AArch32 and AArch64"). */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

extern uint32_t stack_end[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
extern char heap_start[], heap_end[];

int main(void);

/* Operations of semihosting. */
enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT_EXTENDED = 0x20 };
enum { STOPPED_BY_APPLICATION = 0x20026, MODE_W = 4 };

static int call(int operation, const void *arguments)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

_Noreturn void _exit(int code)
{
    const uint32_t block[2] = {STOPPED_BY_APPLICATION, (uint32_t)code};
    for (;;)
        call(SYS_EXIT_EXTENDED, block);
}

int _write(int file, const char *bytes, int len)
{
    static int console = -1;
    (void)file;
    if (console < 0) {
        const uint32_t open[3] = {(uint32_t)":tt", MODE_W, 3};
        console = call(SYS_OPEN, open);
    }
    const uint32_t block[3] = {(uint32_t)console, (uint32_t)bytes, (uint32_t)len};
    return len - call(SYS_WRITE, block);
}

/* The buffer of `printf` comes from here. */
void *_sbrk(ptrdiff_t bytes)
{
    static char *top = heap_start;
    if (bytes > heap_end - top)
        return (void *)-1;
    top += bytes;
    return top - bytes;
}

int _close(int file) { (void)file; return -1; }
int _isatty(int file) { (void)file; return 1; }
int _lseek(int file, int to, int from) { (void)file; (void)to; (void)from; return 0; }
int _read(int file, char *to, int len) { (void)file; (void)to; (void)len; return 0; }
int _getpid(void) { return 1; }
int _kill(int process, int signal) { (void)process; (void)signal; return -1; }

int _fstat(int file, struct stat *status)
{
    (void)file;
    status->st_mode = S_IFCHR;
    return 0;
}

_Noreturn void reset(void)
{
    /* CPACR: full access to the floating-point unit (Armv7-M Architecture Reference Manual, B3.2.20). */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb");
    for (uint32_t *to = data_start, *from = data_load; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    int code = main();
    fflush(NULL);
    _exit(code);
}

static _Noreturn void fault(void)
{
    _exit(102);
}

/* The stack pointer, then the handlers. */
typedef union {
    const void *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[] = {
    {.stack = stack_end}, {.handler = reset}, {.handler = fault}, {.handler = fault},
    {.handler = fault},   {.handler = fault}, {.handler = fault},
};
