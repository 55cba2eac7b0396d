/* What a program that wants CUDA gets, for tests in the lab, whose rigs have no ctypes: a line for each call. */
#include <dlfcn.h>
#include <stdio.h>

int main(void)
{
    int count = 0, version = 0;
    char id[32];
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        puts(dlerror());
        return 127;
    }
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
    int (*get_version)(int *) = (int (*)(int *))dlsym(library, "cuDriverGetVersion");
    int (*get_count)(int *) = (int (*)(int *))dlsym(library, "cuDeviceGetCount");
    int (*bus_id)(char *, int, int) = (int (*)(char *, int, int))dlsym(library, "cuDeviceGetPCIBusId");
    int code = init(0);
    printf("cuInit(0) = %d\n", code);
    if (code)
        return 1;
    get_version(&version);
    get_count(&count);
    printf("version %d, %d devices\n", version, count);
    for (int device = 0; device < count && !bus_id(id, sizeof id, device); device++)
        puts(id);
    return 0;
}
