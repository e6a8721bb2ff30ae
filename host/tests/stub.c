/* A library with the functions of libcuda that rivergram calls, and no GPU behind them. What STUB_CUDA names fails:
 * no-device, capability, turing (which does not fail: it is old), module, memory, copy, launch, wait. Memory is the host's; kernels do nothing. Each call that
 * is not answered once and for all is counted, and the counts are written to the file STUB_CUDA_COUNTS at the end. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_PTX = 218, LAUNCH_FAILED = 719 };

static uint64_t allocated, freed, hosts, hosts_freed, launches, events, events_freed, pushed, popped;

static int fails(const char *what) {
    const char *named = getenv("STUB_CUDA");
    return named != NULL && strcmp(named, what) == 0;
}

static void report(void) {
    const char *path = getenv("STUB_CUDA_COUNTS");
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL) return;
    fprintf(file, "memory %llu %llu\nhost %llu %llu\nevents %llu %llu\ncontexts %llu %llu\nlaunches %llu\n",
            (unsigned long long)allocated, (unsigned long long)freed, (unsigned long long)hosts,
            (unsigned long long)hosts_freed, (unsigned long long)events, (unsigned long long)events_freed,
            (unsigned long long)pushed, (unsigned long long)popped, (unsigned long long)launches);
    fclose(file);
}

int cuInit(unsigned flags) {
    (void)flags;
    atexit(report);
    return fails("no-device") ? NO_DEVICE : OK;
}
int cuDeviceGetCount(int *count) { return *count = 1, OK; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, OK; }
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, (size_t)length, "stub");
    return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    /* 75 and 76: the compute capability; 16: multiprocessors. */
    *value = attribute == 75 ? (fails("capability") || fails("turing") ? 7 : 9) /* 7.0, 7.5 or 9.0 */
           : attribute == 76 ? (fails("turing") ? 5 : 0)
           : attribute == 16 ? 4 : 0;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, *context = &allocated, OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, OK; }
int cuCtxPushCurrent_v2(void *context) { return (void)context, pushed++, OK; }
int cuCtxPopCurrent_v2(void **context) { return *context = NULL, popped++, OK; }
int cuCtxGetDevice(int *device) { return *device = 0, OK; }
int cuModuleLoadData(void **module, const void *image) {
    *module = &freed;
    return fails("module") || strstr(image, ".visible .entry") == NULL ? INVALID_PTX : OK;
}
int cuModuleUnload(void *module) { return (void)module, OK; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module;
    *function = strdup(name);
    return OK;
}
#ifndef OLD
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    if (fails("memory")) return OUT_OF_MEMORY;
    *address = (uint64_t)(uintptr_t)calloc(1, bytes);
    return allocated++, OK;
}
#endif
int cuMemFree_v2(uint64_t address) {
    free((void *)(uintptr_t)address);
    return freed++, OK;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { return *free_bytes = *total = (size_t)1 << 30, OK; }
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    (void)flags;
    return *memory = malloc(bytes), hosts++, OK;
}
int cuMemFreeHost(void *memory) { return free(memory), hosts_freed++, OK; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    if (fails("copy")) return LAUNCH_FAILED;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return OK;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return OK;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
    return OK;
}
int cuMemsetD32Async(uint64_t to, unsigned word, size_t words, void *stream) {
    (void)stream;
    if (word != 0) return LAUNCH_FAILED;
    memset((void *)(uintptr_t)to, 0, 4 * words);
    return OK;
}
int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = &hosts, OK; }
int cuStreamDestroy_v2(void *stream) { return (void)stream, OK; }
int cuStreamSynchronize(void *stream) { return (void)stream, OK; }
int cuEventCreate(void **event, unsigned flags) { return (void)flags, *event = &events, events++, OK; }
int cuEventDestroy_v2(void *event) { return (void)event, events_freed++, OK; }
int cuEventRecord(void *event, void *stream) { return (void)event, (void)stream, OK; }
int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    (void)from, (void)to;
    return *milliseconds = 1, OK;
}
int cuEventSynchronize(void *event) { return (void)event, fails("wait") ? LAUNCH_FAILED : OK; }
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                   unsigned threads_z, unsigned shared, void *stream, void **parameters, void **extra) {
    (void)function, (void)threads_y, (void)threads_z, (void)shared, (void)stream, (void)extra;
    launches++;
    if (fails("launch") || x == 0 || y == 0 || z != 1 || threads == 0 || parameters[0] == NULL) return LAUNCH_FAILED;
    return OK;
}
