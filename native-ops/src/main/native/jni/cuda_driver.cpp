// The native methods of io.github.treeattention.nativeops.cuda.LibCuda: CUDA's driver API, found at run time with dlopen, so
// that nothing of CUDA is needed to build or to start. The prototypes are those of the API's documentation (CUDA 11).

#include <dlfcn.h>
#include <jni.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#define METHOD(type, name) extern "C" JNIEXPORT type JNICALL Java_io_github_treeattention_nativeops_cuda_LibCuda_##name

namespace {

using Result = int;  // CUresult
using Handle = void *;
using Address = unsigned long long;  // CUdeviceptr

// Values of CUdevice_attribute, CUfunction_attribute, CUjit_option and of launch's extra array.
constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76, kSharedOptIn = 97;
constexpr int kMaxDynamicShared = 8;
constexpr int kErrorLogBuffer = 5, kErrorLogBufferBytes = 6;
constexpr int kDefaultShared = 48 << 10;
constexpr Result kInvalidValue = 1;
void *const kParameterBuffer = reinterpret_cast<void *>(1);
void *const kParameterBytes = reinterpret_cast<void *>(2);

struct Api {
    Result (*init)(unsigned);
    Result (*device_count)(int *);
    Result (*device)(int *, int);
    Result (*device_name)(char *, int, int);
    Result (*attribute)(int *, int, int);
    Result (*retain_primary)(Handle *, int);
    Result (*current_context)(Handle *);
    Result (*context_device)(int *);
    Result (*push_context)(Handle);
    Result (*pop_context)(Handle *);
    Result (*synchronize)();
    Result (*error_name)(Result, const char **);
    Result (*load)(Handle *, const void *, unsigned, int *, void **);
    Result (*function)(Handle *, Handle, const char *);
    Result (*function_attribute)(Handle, int, int);
    Result (*allocate)(Address *, size_t);
    Result (*free)(Address);
    Result (*allocate_host)(void **, size_t, unsigned);
    Result (*free_host)(void *);
    Result (*to_device)(Address, const void *, size_t);
    Result (*to_host)(void *, Address, size_t);
    Result (*launch)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void **, void **);
} api;

Handle context;

template <class F>
bool find(void *library, const char *name, F *function) {
    void *const symbol = dlsym(library, name);
    static_assert(sizeof(symbol) == sizeof(*function), "POSIX: functions fit into void *");
    std::memcpy(function, &symbol, sizeof(symbol));
    return symbol != nullptr;
}

// Null, or the first name that the library lacks.
const char *find_all(void *library) {
#define FIND(member, name)                         \
    if (!find(library, name, &api.member)) {       \
        return name;                               \
    }
    FIND(init, "cuInit")
    FIND(device_count, "cuDeviceGetCount")
    FIND(device, "cuDeviceGet")
    FIND(device_name, "cuDeviceGetName")
    FIND(attribute, "cuDeviceGetAttribute")
    FIND(retain_primary, "cuDevicePrimaryCtxRetain")
    FIND(current_context, "cuCtxGetCurrent")
    FIND(context_device, "cuCtxGetDevice")
    FIND(push_context, "cuCtxPushCurrent_v2")
    FIND(pop_context, "cuCtxPopCurrent_v2")
    FIND(synchronize, "cuCtxSynchronize")
    FIND(error_name, "cuGetErrorName")
    FIND(load, "cuModuleLoadDataEx")
    FIND(function, "cuModuleGetFunction")
    FIND(function_attribute, "cuFuncSetAttribute")
    FIND(allocate, "cuMemAlloc_v2")
    FIND(free, "cuMemFree_v2")
    FIND(allocate_host, "cuMemHostAlloc")
    FIND(free_host, "cuMemFreeHost")
    FIND(to_device, "cuMemcpyHtoD_v2")
    FIND(to_host, "cuMemcpyDtoH_v2")
    FIND(launch, "cuLaunchKernel")
#undef FIND
    return nullptr;
}

const char *name_of(Result result) {
    const char *name = nullptr;
    return api.error_name(result, &name) == 0 && name != nullptr ? name : "unknown error";
}

// Our context is current while this lives; the thread's own is back afterwards.
class Current {
   public:
    Current() : result(api.push_context(context)) {}
    Current(const Current &) = delete;
    Current &operator=(const Current &) = delete;
    ~Current() {
        Handle popped;
        if (result == 0) {
            api.pop_context(&popped);
        }
    }
    const Result result;
};

// A copy of a Java array's bytes that ends with the scope.
class Bytes {
   public:
    Bytes(JNIEnv *env, jbyteArray array) : env_(env), array_(array), bytes_(env->GetByteArrayElements(array, nullptr)) {}
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;
    ~Bytes() {
        if (bytes_ != nullptr) {
            env_->ReleaseByteArrayElements(array_, bytes_, 0);
        }
    }
    char *get() const { return reinterpret_cast<char *>(bytes_); }

   private:
    JNIEnv *const env_;
    const jbyteArray array_;
    jbyte *const bytes_;
};

void put(JNIEnv *env, jlongArray to, const void *handle) {
    const jlong value = static_cast<jlong>(reinterpret_cast<intptr_t>(handle));
    env->SetLongArrayRegion(to, 0, 1, &value);
}

Handle handle(jlong value) { return reinterpret_cast<Handle>(static_cast<intptr_t>(value)); }

char *address(JNIEnv *env, jobject buffer) { return static_cast<char *>(env->GetDirectBufferAddress(buffer)); }

}  // namespace

METHOD(jstring, open)(JNIEnv *env, jclass, jbyteArray library) {
    char text[512] = "";
    const jsize length = env->GetArrayLength(library);
    if (length >= static_cast<jsize>(sizeof(text))) {
        return env->NewStringUTF("the name of the CUDA driver's library is too long");
    }
    env->GetByteArrayRegion(library, 0, length, reinterpret_cast<jbyte *>(text));
    text[length] = 0;
    void *const driver = dlopen(text, RTLD_NOW | RTLD_LOCAL);
    if (driver == nullptr) {
        std::snprintf(text, sizeof(text), "no NVIDIA driver: %s", dlerror());
        return env->NewStringUTF(text);
    }
    const char *const missing = find_all(driver);
    if (missing != nullptr) {
        std::snprintf(text, sizeof(text), "the NVIDIA driver is too old: it has no %s", missing);
        return env->NewStringUTF(text);
    }
    int count = 0, device = 0;
    const char *call = "cuInit";
    Result result = api.init(0);
    if (result == 0) {
        call = "cuDeviceGetCount";
        result = api.device_count(&count);
    }
    if (result == 0 && count == 0) {
        return env->NewStringUTF("the NVIDIA driver sees no device");
    }
    if (result == 0 && (api.current_context(&context) != 0 || context == nullptr)) {
        call = "cuDevicePrimaryCtxRetain";
        result = api.device(&device, 0);
        result = result != 0 ? result : api.retain_primary(&context, device);
    }
    if (result != 0) {
        std::snprintf(text, sizeof(text), "the NVIDIA driver has no usable device: %s says %s (%d)", call, name_of(result), result);
        return env->NewStringUTF(text);
    }
    return nullptr;
}

METHOD(jint, properties)(JNIEnv *env, jclass, jintArray properties, jbyteArray name) {
    const int wanted[4] = {kMajor, kMinor, kMultiprocessors, kSharedOptIn};
    const Current current;
    int device = 0;
    Result result = current.result != 0 ? current.result : api.context_device(&device);
    for (int i = 0; i < 4 && result == 0; i++) {
        int value = 0;
        result = api.attribute(&value, wanted[i], device);
        const jint given = value;
        env->SetIntArrayRegion(properties, i, 1, &given);
    }
    const Bytes text(env, name);
    return result != 0 ? result : api.device_name(text.get(), env->GetArrayLength(name), device);
}

METHOD(jint, errorName)(JNIEnv *env, jclass, jint result, jbyteArray name) {
    const char *const text = name_of(result);
    const jsize length = static_cast<jsize>(std::strlen(text)), room = env->GetArrayLength(name);
    env->SetByteArrayRegion(name, 0, length < room ? length : room, reinterpret_cast<const jbyte *>(text));
    return length < room ? length : room;
}

METHOD(jint, load)(JNIEnv *env, jclass, jbyteArray ptx, jlongArray module, jbyteArray log) {
    const Current current;
    const Bytes text(env, ptx), words(env, log);
    int options[] = {kErrorLogBuffer, kErrorLogBufferBytes};
    void *values[] = {words.get(), reinterpret_cast<void *>(static_cast<intptr_t>(env->GetArrayLength(log) - 1))};
    Handle loaded = nullptr;
    const Result result = current.result != 0 ? current.result : api.load(&loaded, text.get(), 2, options, values);
    put(env, module, loaded);
    return result;
}

METHOD(jint, function)(JNIEnv *env, jclass, jlong module, jbyteArray name, jlongArray function) {
    const Current current;
    const Bytes text(env, name);
    Handle found = nullptr;
    const Result result = current.result != 0 ? current.result : api.function(&found, handle(module), text.get());
    put(env, function, found);
    return result;
}

METHOD(jint, allocate)(JNIEnv *env, jclass, jlong bytes, jlongArray to) {
    const Current current;
    Address given = 0;
    const Result result = current.result != 0 ? current.result : api.allocate(&given, static_cast<size_t>(bytes));
    const jlong value = static_cast<jlong>(given);
    env->SetLongArrayRegion(to, 0, 1, &value);
    return result;
}

METHOD(jint, free0)(JNIEnv *, jclass, jlong given) {
    const Current current;
    return current.result != 0 ? current.result : api.free(static_cast<Address>(given));
}

METHOD(jint, allocatePinned)(JNIEnv *env, jclass, jint bytes, jobjectArray memory) {
    const Current current;
    void *given = nullptr;
    const Result result = current.result != 0 ? current.result : api.allocate_host(&given, static_cast<size_t>(bytes), 0);
    if (result == 0) {
        env->SetObjectArrayElement(memory, 0, env->NewDirectByteBuffer(given, bytes));
    }
    return result;
}

METHOD(jint, freePinned0)(JNIEnv *env, jclass, jobject memory) {
    const Current current;
    return current.result != 0 ? current.result : api.free_host(address(env, memory));
}

METHOD(jint, copy)(JNIEnv *env, jclass, jlong device, jobject host, jint offset, jint bytes, jboolean to_device) {
    const Current current;
    char *const memory = address(env, host) + offset;
    const Address there = static_cast<Address>(device);
    const size_t count = static_cast<size_t>(bytes);
    return current.result != 0 ? current.result : to_device ? api.to_device(there, memory, count) : api.to_host(memory, there, count);
}

METHOD(jint, launch)
(JNIEnv *env, jclass, jlong function, jintArray shape, jobject parameters, jint offset, jint bytes, jlong stream) {
    jint size[6];
    if (env->GetArrayLength(shape) != 6) {
        return kInvalidValue;
    }
    env->GetIntArrayRegion(shape, 0, 6, size);
    const Current current;
    Result result = current.result;
    if (result == 0 && size[5] > kDefaultShared) {
        result = api.function_attribute(handle(function), kMaxDynamicShared, size[5]);
    }
    size_t count = static_cast<size_t>(bytes);
    void *extra[] = {kParameterBuffer, address(env, parameters) + offset, kParameterBytes, &count, nullptr};
    const auto u = [&size](int i) { return static_cast<unsigned>(size[i]); };
    return result != 0 ? result
                       : api.launch(handle(function), u(0), u(1), u(2), u(3), u(4), 1, u(5), handle(stream), nullptr, extra);
}

METHOD(jint, synchronize0)(JNIEnv *, jclass) {
    const Current current;
    return current.result != 0 ? current.result : api.synchronize();
}
