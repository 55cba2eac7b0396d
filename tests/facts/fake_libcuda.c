/* libcuda.so.1 as far as the load script uses it: RAM in place of a GPU. FAKE_CUDA=oom: no memory; =hang: no answer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int held;

static int is(const char *what) {
    const char *asked = getenv("FAKE_CUDA");
    return asked && !strcmp(asked, what);
}

int cuInit(unsigned flags) { return flags; }
int cuGetErrorString(int code, const char **text) { *text = code == 2 ? "out of memory" : "invalid device"; return 0; }
int cuDeviceGetByPCIBusId(int *device, const char *address) {
    *device = 7;
    return strlen(address) == 12 && !strncmp(address, "0000:", 5) ? 0 : 101;
}
int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    if (is("hang")) sleep(60);
    if (is("oom")) return 2;
    if (flags || device != 7) return 101;
    held++;
    return (*context = malloc(1)) == NULL;
}
int cuMemHostAlloc(void **at, size_t size, unsigned flags) { held++; *at = calloc(1, size); return flags; }
int cuMemAlloc_v2(uint64_t *at, size_t size) { held++; *at = (uint64_t)(uintptr_t)calloc(1, size); return 0; }
int cuStreamCreate(void **stream, unsigned flags) { held++; *stream = malloc(1); return flags != 1; }
int cuMemcpyHtoDAsync_v2(uint64_t to, void *from, size_t size, void *stream) {
    memcpy((void *)(uintptr_t)to, from, size);
    return stream == NULL;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
    memcpy(to, (void *)(uintptr_t)from, size);
    return stream == NULL;
}
int cuStreamSynchronize(void *stream) { return stream == NULL; }
int cuStreamDestroy_v2(void *stream) { held--; free(stream); return 0; }
int cuMemFree_v2(uint64_t at) { held--; free((void *)(uintptr_t)at); return 0; }
int cuMemFreeHost(void *at) { held--; free(at); return 0; }
int cuCtxDestroy_v2(void *context) {
    FILE *log = fopen(getenv("FAKE_LOG"), "a");
    free(context);
    fprintf(log, "%d held\n", --held);
    fclose(log);
    return 0;
}
