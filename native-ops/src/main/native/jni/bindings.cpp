// The native methods of io.github.treeattention.nativeops.Bindings; the only file that knows JNI.

#include <jni.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
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
enum Shape {
    kIsa,
    kBatch,
    kHeads,
    kKvHeads,
    kQueries,
    kHeadDim,
    kValueDim,
    kKvType,
    kCausal,
    kWindow,
    kDropoutLayer,
    kFirstBatchRow,
    kOutStride,
    kLseStride,
    kFirstLse,
    kPageSizes
};

// Its numbers argument, and what a table takes of its masks argument.
enum Numbers { kScale, kSoftCap, kDropoutRate, kNumberCount };
enum Table { kLength, kOffset, kBatchStride, kHeadStride, kQueryStride, kKeys, kTableIntegers };
constexpr jsize kTables = 4;                             // keys, visible, bias, ranges
constexpr jsize kMaskIntegers = 1 + kTables * kTableIntegers;  // the dropout's seed, then each table's

ta_spec spec_of(const jint *shape, const jdouble *numbers, jlong dropout_seed) {
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
    spec.scale = numbers[kScale];
    spec.soft_cap = numbers[kSoftCap];
    spec.dropout_rate = numbers[kDropoutRate];
    spec.dropout_seed = static_cast<uint64_t>(dropout_seed);
    spec.dropout_layer = shape[kDropoutLayer];
    spec.first_batch_row = shape[kFirstBatchRow];
    return spec;
}

void *address(JNIEnv *env, jobject buffer) { return buffer == nullptr ? nullptr : env->GetDirectBufferAddress(buffer); }

// Rows in two buffers, or the same one twice, laid out as the shape says.
ta_rows rows_of(JNIEnv *env, const jint *shape, jobject out, jobject lse) {
    float *const first = static_cast<float *>(address(env, lse));
    return ta_rows{static_cast<float *>(address(env, out)), first == nullptr ? nullptr : first + shape[kFirstLse],
                   shape[kOutStride], shape[kLseStride]};
}

// A table, none where its buffer is null; false if the buffer is not direct.
bool read_table(JNIEnv *env, jobjectArray buffers, jsize index, const jlong *integers, ta_table *table) {
    const jobject buffer = env->GetObjectArrayElement(buffers, index);
    *table = ta_table{address(env, buffer),       integers[kLength],      integers[kOffset], integers[kBatchStride],
                      integers[kHeadStride], integers[kQueryStride], integers[kKeys]};
    const bool whole = buffer == nullptr || table->values != nullptr;
    env->DeleteLocalRef(buffer);
    return whole;
}

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

// What partial and backward have in common, copied out of the JVM's arrays.
class Inputs {
   public:
    Inputs(JNIEnv *env, jintArray shape, jlongArray first_positions, jobjectArray key_pages, jintArray page_counts)
        : integers_(env->GetArrayLength(shape)),
          pages_(env->GetArrayLength(key_pages)),
          batch_(env->GetArrayLength(page_counts)),
          shards(batch_),
          ints_(integers_),
          counts_(batch_),
          positions_(batch_),
          page_(pages_) {
        if (complete()) {
            env->GetIntArrayRegion(shape, 0, integers_, ints_.get());
            env->GetIntArrayRegion(page_counts, 0, batch_, counts_.get());
            env->GetLongArrayRegion(first_positions, 0, batch_, positions_.get());
        }
    }

    ta_status read(JNIEnv *env, jdoubleArray numbers, jlongArray masks, jobjectArray tables, jobject queries,
                   jobjectArray keys, jobjectArray values, jlongArray places) {
        if (!complete()) {
            return TA_OUT_OF_MEMORY;
        }
        jdouble reals[kNumberCount];
        jlong integers[kMaskIntegers];
        if (env->GetArrayLength(numbers) != kNumberCount || env->GetArrayLength(masks) != kMaskIntegers ||
            env->GetArrayLength(tables) != kTables) {
            return TA_INVALID_ARGUMENT;
        }
        env->GetDoubleArrayRegion(numbers, 0, kNumberCount, reals);
        env->GetLongArrayRegion(masks, 0, kMaskIntegers, integers);
        ta_table *const to[kTables] = {&mask.keys, &mask.visible, &mask.bias, &mask.ranges};
        for (jsize i = 0; i < kTables; i++) {
            if (!read_table(env, tables, i, integers + 1 + i * kTableIntegers, to[i])) {
                return TA_INVALID_ARGUMENT;
            }
        }
        if (integers_ != kPageSizes + batch_ || !read_pages(env, keys, values, places, pages_, page_.get())) {
            return TA_INVALID_ARGUMENT;
        }
        const ta_page *next = page_.get();
        for (jsize b = 0; b < batch_; b++) {
            shards.get()[b] = ta_shard{next, counts_.get()[b], ints_.get()[kPageSizes + b]};
            next += counts_.get()[b];
        }
        spec = spec_of(ints_.get(), reals, integers[0]);
        q = static_cast<const float *>(address(env, queries));
        return TA_OK;
    }

    const jint *shape() const { return ints_.get(); }

    const int64_t *positions() const {
        static_assert(sizeof(jlong) == sizeof(int64_t), "positions are passed as they are");
        return reinterpret_cast<const int64_t *>(positions_.get());
    }

   private:
    const jsize integers_;
    const jsize pages_;
    const jsize batch_;

   public:
    ta_spec spec{};
    ta_mask mask{};
    const float *q = nullptr;
    Temporary<ta_shard> shards;

   private:
    bool complete() const {
        return ints_.get() && counts_.get() && positions_.get() && page_.get() && shards.get();
    }

    Temporary<jint> ints_;
    Temporary<jint> counts_;
    Temporary<jlong> positions_;
    Temporary<ta_page> page_;
};

}  // namespace

extern "C" {

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_activeIsa(JNIEnv *, jclass) { return ta_active_isa(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_bestIsa(JNIEnv *, jclass) { return ta_best_isa(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_threads(JNIEnv *, jclass) { return ta_threads(); }

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_setThreads(JNIEnv *, jclass, jint threads) {
    return ta_set_threads(threads);
}

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_partial(
    JNIEnv *env, jclass, jintArray shape, jdoubleArray numbers, jlongArray masks, jobjectArray tables, jobject q,
    jlongArray first_positions, jobjectArray key_pages, jobjectArray value_pages, jlongArray places, jintArray page_counts,
    jobject source, jobject out, jobject lse) {
    Inputs inputs(env, shape, first_positions, key_pages, page_counts);
    const ta_status status = inputs.read(env, numbers, masks, tables, q, key_pages, value_pages, places);
    if (status != TA_OK) {
        return status;
    }
    ta_partial_params params{};
    params.spec = inputs.spec;
    params.q = inputs.q;
    params.first_positions = inputs.positions();
    params.shards = inputs.shards.get();
    params.mask = &inputs.mask;
    params.source = static_cast<const float *>(address(env, source));
    params.rows = rows_of(env, inputs.shape(), out, lse);
    if ((source != nullptr && params.source == nullptr) || (out != nullptr && params.rows.out == nullptr)) {
        return TA_INVALID_ARGUMENT;
    }
    return ta_partial(&params);
}

JNIEXPORT jint JNICALL Java_io_github_treeattention_nativeops_Bindings_backward(
    JNIEnv *env, jclass, jintArray shape, jdoubleArray numbers, jlongArray masks, jobjectArray tables, jobject q,
    jlongArray first_positions, jobjectArray key_pages, jobjectArray value_pages, jlongArray places, jintArray page_counts,
    jobject out, jobject lse, jobject out_gradient, jobject lse_gradient, jobjectArray outputs) {
    Inputs inputs(env, shape, first_positions, key_pages, page_counts);
    ta_status status = inputs.read(env, numbers, masks, tables, q, key_pages, value_pages, places);
    const jsize count = env->GetArrayLength(outputs), batch = env->GetArrayLength(page_counts);
    Temporary<float *> gradients(count);
    if (status != TA_OK || gradients.get() == nullptr || count != 1 + 2 * batch) {
        return status != TA_OK ? status : gradients.get() == nullptr ? TA_OUT_OF_MEMORY : TA_INVALID_ARGUMENT;
    }
    for (jsize i = 0; i < count; i++) {
        const jobject output = env->GetObjectArrayElement(outputs, i);
        gradients.get()[i] = static_cast<float *>(address(env, output));
        env->DeleteLocalRef(output);
    }
    ta_backward_params params{};
    params.spec = inputs.spec;
    params.q = inputs.q;
    params.first_positions = inputs.positions();
    params.shards = inputs.shards.get();
    params.mask = &inputs.mask;
    params.rows = rows_of(env, inputs.shape(), out, lse);
    params.row_gradients = rows_of(env, inputs.shape(), out_gradient, lse_gradient);
    if (lse_gradient != nullptr && params.row_gradients.lse == nullptr) {
        return TA_INVALID_ARGUMENT;
    }
    params.dq = gradients.get()[0];
    params.dkeys = gradients.get() + 1;
    params.dvalues = gradients.get() + 1 + batch;
    return ta_backward(&params);
}

// Huge pages for memory that holds zeros. The system gives them when a page is first touched, and the JVM has touched
// these to zero them: dropping them makes them zeros that were never touched.
JNIEXPORT jboolean JNICALL Java_io_github_treeattention_nativeops_Bindings_preferHugePages(JNIEnv *env, jclass, jobject zeros) {
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t from = (reinterpret_cast<uintptr_t>(address(env, zeros)) + page - 1) / page * page;
    const uintptr_t to = (reinterpret_cast<uintptr_t>(address(env, zeros)) +
                          static_cast<uintptr_t>(env->GetDirectBufferCapacity(zeros))) / page * page;
    void *const memory = reinterpret_cast<void *>(from);
    return from < to && madvise(memory, to - from, MADV_HUGEPAGE) == 0 && madvise(memory, to - from, MADV_DONTNEED) == 0;
}

JNIEXPORT jlong JNICALL Java_io_github_treeattention_nativeops_Bindings_scratchBytes(JNIEnv *, jclass) {
    return ta_scratch_bytes();
}

JNIEXPORT jdouble JNICALL Java_io_github_treeattention_nativeops_Bindings_measureFma(JNIEnv *, jclass) {
    double result;
    return ta_measure_fma(TA_ISA_ACTIVE, &result) == TA_OK ? result : NAN;
}

JNIEXPORT jdouble JNICALL Java_io_github_treeattention_nativeops_Bindings_measureRead(JNIEnv *env, jclass, jobject memory) {
    double result;
    return ta_measure_read(TA_ISA_ACTIVE, address(env, memory), env->GetDirectBufferCapacity(memory), &result) == TA_OK
               ? result
               : NAN;
}

}  // extern "C"
