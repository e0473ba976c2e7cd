// The native methods of io.github.treeattention.nativeops.Bindings; the only file that knows JNI.

#include <jni.h>

#include <cstdlib>

#include "tree_attention.h"

namespace {

// Memory that is freed at the end of a call; null elements() if there was none to be had.
template <class T>
class Temporary {
   public:
    explicit Temporary(int64_t count) : memory_(static_cast<T *>(std::malloc(sizeof(T) * static_cast<size_t>(count + 1)))) {}
    Temporary(const Temporary &) = delete;
    Temporary &operator=(const Temporary &) = delete;
    ~Temporary() { std::free(memory_); }
    T *get() const { return memory_; }

   private:
    T *memory_;
};

// Integers of Bindings.partial's shape argument, in order.
enum Shape { kIsa, kBatch, kHeads, kKvHeads, kQueries, kHeadDim, kValueDim, kKvType, kCausal, kWindow, kPageSizes };

ta_spec spec_of(const jint *shape, jdouble scale, jdouble soft_cap) {
    ta_spec spec{};
    spec.isa = shape[kIsa];
    spec.batch = shape[kBatch];
    spec.heads = shape[kHeads];
    spec.kv_heads = shape[kKvHeads];
    spec.queries = shape[kQueries];
    spec.head_dim = shape[kHeadDim];
    spec.value_dim = shape[kValueDim];
    spec.kv_type = shape[kKvType];
    spec.causal = shape[kCausal];
    spec.sliding_window = shape[kWindow];
    spec.scale = scale;
    spec.soft_cap = soft_cap;
    return spec;
}

void *address(JNIEnv *env, jobject buffer) { return buffer == nullptr ? nullptr : env->GetDirectBufferAddress(buffer); }

// Pages of all shards: buffers [pages], places [pages][start, length, key offset, value offset].
bool read_pages(JNIEnv *env, jobjectArray keys, jobjectArray values, jlongArray places, jsize count, ta_page *pages) {
    Temporary<jlong> numbers(4 * static_cast<int64_t>(count));
    if (numbers.get() == nullptr) {
        return false;
    }
    env->GetLongArrayRegion(places, 0, 4 * count, numbers.get());
    for (jsize i = 0; i < count; i++) {
        const jobject key_page = env->GetObjectArrayElement(keys, i);
        const jobject value_page = env->GetObjectArrayElement(values, i);
        const jlong *const place = numbers.get() + 4 * static_cast<int64_t>(i);
        char *const key_memory = static_cast<char *>(address(env, key_page));
        char *const value_memory = env->IsSameObject(key_page, value_page) ? key_memory : static_cast<char *>(address(env, value_page));
        env->DeleteLocalRef(key_page);
        env->DeleteLocalRef(value_page);
        if (key_memory == nullptr || value_memory == nullptr) {
            return false;
        }
        pages[i] = ta_page{key_memory + place[2], value_memory + place[3], place[0], place[1]};
    }
    return true;
}

}  // namespace

extern "C" {

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_activeIsa(JNIEnv *, jclass) { return ta_active_isa(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_bestIsa(JNIEnv *, jclass) { return ta_best_isa(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_threads(JNIEnv *, jclass) { return ta_threads(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_setThreads(JNIEnv *, jclass, jint threads) {
    return ta_set_threads(threads);
}

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_partial(
    JNIEnv *env, jclass, jintArray shape, jdouble scale, jdouble soft_cap, jobject q, jlongArray first_positions,
    jobjectArray key_pages, jobjectArray value_pages, jlongArray places, jintArray page_counts, jobject state) {
    const jsize integers = env->GetArrayLength(shape);
    const jsize pages = env->GetArrayLength(key_pages);
    const jsize batch = env->GetArrayLength(page_counts);
    Temporary<jint> ints(integers), counts(batch);
    Temporary<jlong> positions(batch);
    Temporary<ta_page> page(pages);
    Temporary<ta_shard> shards(batch);
    if (!ints.get() || !counts.get() || !positions.get() || !page.get() || !shards.get()) {
        return TA_OUT_OF_MEMORY;
    }
    env->GetIntArrayRegion(shape, 0, integers, ints.get());
    env->GetIntArrayRegion(page_counts, 0, batch, counts.get());
    env->GetLongArrayRegion(first_positions, 0, batch, positions.get());
    if (integers != kPageSizes + batch || !read_pages(env, key_pages, value_pages, places, pages, page.get())) {
        return TA_INVALID_ARGUMENT;
    }
    const ta_page *next = page.get();
    for (jsize b = 0; b < batch; b++) {
        shards.get()[b] = ta_shard{next, counts.get()[b], ints.get()[kPageSizes + b]};
        next += counts.get()[b];
    }
    static_assert(sizeof(jlong) == sizeof(int64_t), "positions are passed as they are");
    ta_partial_params params{};
    params.spec = spec_of(ints.get(), scale, soft_cap);
    params.q = static_cast<const float *>(address(env, q));
    params.first_positions = reinterpret_cast<const int64_t *>(positions.get());
    params.shards = shards.get();
    params.state = static_cast<float *>(address(env, state));
    return ta_partial(&params);
}

}  // extern "C"
