/* Compiles CUDA C++ to PTX with the NVRTC that it is given: nvrtc LIBNVRTC SOURCE PTX OPTIONS...
   Loaded with dlopen, since the CUDA preset of JavaCPP wants libcuda.so.1, which a machine without a GPU lacks. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *Program;

static void *library;

static void *find(const char *name) {
    void *const symbol = dlsym(library, name);
    if (symbol == NULL) {
        fprintf(stderr, "nvrtc: the library lacks %s\n", name);
        exit(2);
    }
    return symbol;
}

/* A file's text; exits where it cannot be read. */
static char *text_of(const char *path) {
    FILE *const file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "nvrtc: cannot read %s\n", path);
        exit(2);
    }
    const long size = ftell(file);
    char *const text = calloc((size_t)size + 1, 1);
    rewind(file);
    if (text == NULL || fread(text, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "nvrtc: cannot read %s\n", path);
        exit(2);
    }
    fclose(file);
    return text;
}

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "usage: nvrtc LIBNVRTC SOURCE PTX OPTIONS...\n");
        return 2;
    }
    library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "nvrtc: %s\n", dlerror());
        return 2;
    }
    int (*create)(Program *, const char *, const char *, int, const char *const *, const char *const *);
    int (*compile)(Program, int, const char *const *);
    int (*size_of)(Program, size_t *);
    int (*copy)(Program, char *);
    *(void **)&create = find("nvrtcCreateProgram");
    *(void **)&compile = find("nvrtcCompileProgram");
    Program program;
    if (create(&program, text_of(arguments[2]), "/attention.cu", 0, NULL, NULL) != 0) {
        fprintf(stderr, "nvrtc: nvrtcCreateProgram failed\n");
        return 1;
    }
    const int result = compile(program, count - 4, (const char *const *)arguments + 4);
    size_t size = 0;
    *(void **)&size_of = find("nvrtcGetProgramLogSize");
    *(void **)&copy = find("nvrtcGetProgramLog");
    size_of(program, &size);
    char *log = calloc(size + 1, 1);
    copy(program, log);
    fputs(log, stderr);
    if (result != 0) {
        return 1;
    }
    if (log[0] != 0) {
        fprintf(stderr, "nvrtc: warnings are errors\n");
        return 1;
    }
    *(void **)&size_of = find("nvrtcGetPTXSize");
    *(void **)&copy = find("nvrtcGetPTX");
    size_of(program, &size);
    char *ptx = calloc(size + 1, 1);
    copy(program, ptx);
    FILE *const out = fopen(arguments[3], "wb");
    if (out == NULL || fputs(ptx, out) < 0 || fclose(out) != 0) {
        fprintf(stderr, "nvrtc: cannot write %s\n", arguments[3]);
        return 2;
    }
    return 0;
}
