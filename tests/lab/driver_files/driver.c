/* Stand-ins of libcuda.so.1 and libnvidia-ml.so.1 for tests in the lab: they look at what the lab's kernel shows.
   -DVERSION='"580.178.04"' -DCUDA=13000 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GPUS "/proc/driver/nvidia/gpus"
enum { GOOD, INVALID = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, MISMATCH = 803, UNKNOWN = 999 };
enum { NVML_NOT_LOADED = 9, NVML_MISMATCH = 18 };

static int initialized;

/* 0: nothing is loaded; 1: a driver of another version; 2: one of ours. */
static int loaded(void)
{
    char line[512] = "";
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    if (!file)
        return 0;
    char *said = fgets(line, sizeof line, file);
    fclose(file);
    return !said ? 0 : strstr(line, "  " VERSION "  ") ? 2 : 1;
}

static int by_name(const void *one, const void *other)
{
    return strcmp(one, other);
}

/* The bus ids of the GPUs that answer, in the order of their slots. */
static int gpus(char ids[64][32])
{
    int count = 0;
    DIR *folder = opendir(GPUS);
    if (!folder)
        return 0;
    for (struct dirent *entry; count < 64 && (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            snprintf(ids[count++], 32, "%.31s", entry->d_name);
    closedir(folder);
    qsort(ids, count, 32, by_name);
    return count;
}

static int bus_id(int device, char *id)
{
    char ids[64][32];
    if (!initialized)
        return NOT_INITIALIZED;
    if (device < 0 || device >= gpus(ids))
        return INVALID_DEVICE;
    strcpy(id, ids[device]);
    return GOOD;
}

int cuInit(unsigned flags)
{
    char ids[64][32];
    int state = loaded();
    if (flags)
        return INVALID;
    if (state != 2)
        return state ? MISMATCH : NO_DEVICE;
    if (access("/dev/nvidia-uvm", F_OK))
        return UNKNOWN;
    if (!gpus(ids))
        return NO_DEVICE;
    initialized = 1;
    return GOOD;
}

int cuDriverGetVersion(int *version)
{
    *version = CUDA;
    return GOOD;
}

int cuDeviceGetCount(int *count)
{
    char ids[64][32];
    if (!initialized)
        return NOT_INITIALIZED;
    *count = gpus(ids);
    return GOOD;
}

int cuDeviceGet(int *device, int ordinal)
{
    char id[32];
    *device = ordinal;
    return bus_id(ordinal, id);
}

int cuDeviceGetPCIBusId(char *text, int size, int device)
{
    char id[32];
    int code = bus_id(device, id);
    if (!code)
        snprintf(text, size, "%s", id);
    return code;
}

int cuDeviceGetName(char *text, int size, int device)
{
    char id[32], path[128], line[256];
    int code = bus_id(device, id);
    if (code)
        return code;
    snprintf(path, sizeof path, GPUS "/%s/information", id);
    snprintf(text, size, "NVIDIA GPU");
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "Model:", 6)) {
            char *name = line + 6 + strspn(line + 6, " \t");
            name[strcspn(name, "\n")] = 0;
            snprintf(text, size, "%s", name);
        }
    if (file)
        fclose(file);
    return GOOD;
}

int cuGetErrorName(int code, const char **name)
{
    *name = code == GOOD              ? "CUDA_SUCCESS"
            : code == NOT_INITIALIZED ? "CUDA_ERROR_NOT_INITIALIZED"
            : code == NO_DEVICE       ? "CUDA_ERROR_NO_DEVICE"
            : code == INVALID_DEVICE  ? "CUDA_ERROR_INVALID_DEVICE"
            : code == MISMATCH        ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
                                      : "CUDA_ERROR_UNKNOWN";
    return GOOD;
}

int nvmlInit_v2(void)
{
    int state = loaded();
    return state == 2 ? GOOD : state ? NVML_MISMATCH : NVML_NOT_LOADED;
}

int nvmlShutdown(void)
{
    return GOOD;
}

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    snprintf(text, size, "%s", VERSION);
    return GOOD;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    char ids[64][32];
    *count = gpus(ids);
    return GOOD;
}
