/* Stands in for libcuda.so.1: the calls that cuda_driver.cpp makes, with the prototypes of the driver API's documentation, over host
 * memory. Writes down what it is asked to FAKE_DRIVER_LOG. Refuses calls without a current context. FAKE_DRIVER_CAPABILITY,
 * FAKE_DRIVER_DEVICES and FAKE_DRIVER_CURRENT say what there is. -DOLD leaves one call out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *Handle;
typedef unsigned long long Address;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_PTX = 218, NOT_FOUND = 500 };

static Handle const primary = (Handle)0xd0, current = (Handle)0xc0;
static Handle stack[8];
static int depth;

static int given(const char *name, int otherwise) {
    const char *const text = getenv(name);
    return text == NULL ? otherwise : atoi(text);
}

static void note(const char *format, ...) {
    FILE *const log = fopen(getenv("FAKE_DRIVER_LOG"), "a");
    va_list values;
    va_start(values, format);
    vfprintf(log, format, values);
    va_end(values);
    fclose(log);
}

#define IN_CONTEXT                  \
    if (depth == 0) {               \
        note("without context\n"); \
        return INVALID_CONTEXT;     \
    }

int cuInit(unsigned flags) { return flags == 0 ? OK : INVALID_VALUE; }
int cuDeviceGetCount(int *count) {
    *count = given("FAKE_DRIVER_DEVICES", 1);
    return OK;
}
int cuDeviceGet(int *device, int number) {
    *device = 40 + number;
    return OK;
}
int cuDeviceGetName(char *name, int room, int device) {
    snprintf(name, (size_t)room, "Fake %d", device);
    return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    const int capability = given("FAKE_DRIVER_CAPABILITY", 86);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? 84 : attribute == 97 ? 101376 : -1;
    return device == 40 || device == 47 ? OK : INVALID_VALUE;
}
int cuDevicePrimaryCtxRetain(Handle *context, int device) {
    note("retain %d\n", device);
    *context = primary;
    return OK;
}
int cuCtxGetCurrent(Handle *context) {
    *context = depth > 0 ? stack[depth - 1] : given("FAKE_DRIVER_CURRENT", 0) ? current : NULL;
    return OK;
}
int cuCtxGetDevice(int *device) {
    IN_CONTEXT
    *device = stack[depth - 1] == current ? 47 : 40;
    return OK;
}
int cuCtxPushCurrent_v2(Handle context) {
    stack[depth++] = context;
    return OK;
}
int cuCtxPopCurrent_v2(Handle *context) {
    IN_CONTEXT
    *context = stack[--depth];
    return OK;
}
int cuCtxSynchronize(void) {
    IN_CONTEXT
    note("synchronize, depth %d\n", depth);
    return OK;
}
int cuGetErrorName(int result, const char **name) {
    *name = result == INVALID_PTX ? "CUDA_ERROR_INVALID_PTX" : result == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_INVALID_VALUE";
    return OK;
}
int cuModuleLoadDataEx(Handle *module, const void *image, unsigned count, int *options, void **values) {
    IN_CONTEXT
    if (strcmp(image, "wrong") == 0) { /* CU_JIT_ERROR_LOG_BUFFER, and its size */
        if (count == 2 && options[0] == 5 && options[1] == 6) {
            snprintf(values[0], (size_t)values[1], "line 1: wrong");
        }
        return INVALID_PTX;
    }
    note("load '%s'\n", (const char *)image);
    *module = (Handle)0x100;
    return OK;
}
int cuModuleGetFunction(Handle *function, Handle module, const char *name) {
    IN_CONTEXT
    *function = (Handle)0x200;
    return module == (Handle)0x100 && strcmp(name, "merge") == 0 ? OK : NOT_FOUND;
}
#ifndef OLD
int cuFuncSetAttribute(Handle function, int attribute, int value) {
    IN_CONTEXT
    note("attribute %d of %p: %d\n", attribute, function, value);
    return OK;
}
#endif
int cuMemAlloc_v2(Address *address, size_t bytes) {
    IN_CONTEXT
    void *const memory = bytes > 1 << 30 ? NULL : malloc(bytes);
    *address = (Address)(size_t)memory;
    return memory == NULL ? OUT_OF_MEMORY : OK;
}
int cuMemFree_v2(Address address) {
    IN_CONTEXT
    free((void *)(size_t)address);
    return address == 0 ? INVALID_VALUE : OK;
}
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    IN_CONTEXT
    *memory = bytes > 1 << 30 ? NULL : malloc(bytes);
    return flags != 0 ? INVALID_VALUE : *memory == NULL ? OUT_OF_MEMORY : OK;
}
int cuMemFreeHost(void *memory) {
    IN_CONTEXT
    free(memory);
    return OK;
}
int cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes) {
    IN_CONTEXT
    memcpy((void *)(size_t)to, from, bytes);
    return OK;
}
int cuMemcpyDtoH_v2(void *to, Address from, size_t bytes) {
    IN_CONTEXT
    memcpy(to, (const void *)(size_t)from, bytes);
    return OK;
}
int cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   Handle stream, void **parameters, void **extra) {
    IN_CONTEXT
    note("launch %p, grid %u %u %u, block %u %u %u, shared %u, stream %p,", function, gx, gy, gz, bx, by, bz, shared, stream);
    /* CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE, _END */
    if (parameters != NULL || extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4] != NULL) {
        return INVALID_VALUE;
    }
    for (size_t i = 0; i < *(size_t *)extra[3]; i++) {
        note(" %u", ((unsigned char *)extra[1])[i]);
    }
    note("\n");
    return OK;
}
