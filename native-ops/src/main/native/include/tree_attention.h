/* C ABI of tree-attention's CPU kernels: params structs in, a status out; no exceptions, no output, no globals to set. */
#ifndef TREE_ATTENTION_H
#define TREE_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TA_API __attribute__((visibility("default")))
#else
#define TA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ta_status {
    TA_OK = 0,
    TA_INVALID_ARGUMENT = 1, /* a size below its minimum, a null pointer, an unknown type */
    TA_OUT_OF_MEMORY = 2,    /* scratch memory could not be had; nothing was written */
    TA_UNSUPPORTED_ISA = 3   /* the tier asked for cannot run on this machine */
} ta_status;

/* Element types of keys and values. Arithmetic is float32 whatever the type. */
typedef enum ta_kv_type { TA_F32 = 0, TA_BF16 = 1, TA_F16 = 2 } ta_kv_type;

/* Instruction-set tiers, lowest first. TA_ISA_ACTIVE is the best that the machine and TREE_ATTENTION_MAX_ISA allow. */
typedef enum ta_isa { TA_ISA_ACTIVE = -1, TA_ISA_GENERIC = 0, TA_ISA_AVX2 = 1, TA_ISA_AVX512 = 2, TA_ISA_COUNT = 3 } ta_isa;

/* Consecutive global positions start .. start + length - 1 of one layer of one sequence. */
typedef struct ta_page {
    const void *keys;   /* [kv_heads][page_size][head_dim] */
    const void *values; /* [kv_heads][page_size][value_dim] */
    int64_t start;      /* global position of the first row */
    int64_t length;     /* valid rows, 1..page_size; memory beyond them is never read */
} ta_page;

/* The keys of one batch row: pages in ascending order of position. */
typedef struct ta_shard {
    const ta_page *pages;
    int64_t page_count; /* 0 for a batch row without keys */
    int64_t page_size;  /* rows from one head to the next within a page */
} ta_shard;

/* What is computed, apart from the data; the meaning of each field is AttentionSpec's. */
typedef struct ta_spec {
    int32_t batch;
    int32_t heads;
    int32_t kv_heads; /* divides heads; query head h reads key/value head h / (heads / kv_heads) */
    int32_t queries;
    int32_t head_dim;
    int32_t value_dim;
    int32_t kv_type; /* ta_kv_type */
    int32_t causal;  /* 0 or 1 */
    int64_t sliding_window; /* 0 for none, else needs causal */
    double scale;
    double soft_cap; /* 0 for none */
    int32_t isa;     /* ta_isa */
    int32_t dropout_layer;
    double dropout_rate; /* 0 for none, else below 1; what is drawn is Dropout's convention (docs/conventions.md) */
    uint64_t dropout_seed;
    int64_t first_batch_row; /* number of batch row 0 in the whole batch, for dropout */
} ta_spec;

/* Numbers by batch row, head, query and key: the row of a (batch row, head, query) starts at element offset + batch row *
   batch_stride + head * head_stride + query * query_stride; its key at global position p is p elements further. A stride is 0
   where all share one. */
typedef struct ta_table {
    const void *values; /* null for no table */
    int64_t length;     /* elements from values on; every row lies within them */
    int64_t offset;
    int64_t batch_stride;
    int64_t head_stride;
    int64_t query_stride;
    int64_t keys; /* global positions 0 .. keys - 1 are covered; no shard may hold others */
} ta_table;

/* What a call hides and adds beyond ta_spec, as AttentionMask does; all tables may be absent. A key is visible where nothing
   hides it; hidden keys and values reach no result even if they are not finite. */
typedef struct ta_mask {
    ta_table keys;    /* uint8_t, 0 hides; head_stride and query_stride are 0 */
    ta_table visible; /* uint8_t, 0 hides */
    ta_table bias;    /* float, added to scaled, capped scores; finite, or -infinity, which hides */
    ta_table ranges;  /* int64_t [2]: the first visible position and the one after the last; keys is 2, head_stride 0 */
} ta_mask;

/* One row for each [batch][heads][queries]: its out[value_dim] at out + row * out_stride, its natural-log lse at lse + row *
   lse_stride. An array of rows [out, lse], as states travel, is {rows, rows + value_dim, value_dim + 1, value_dim + 1}. */
typedef struct ta_rows {
    float *out;
    float *lse;
    int64_t out_stride;
    int64_t lse_stride;
} ta_rows;

typedef struct ta_partial_params {
    ta_spec spec;                   /* without dropout where there is no out, without a soft-cap where there is a source */
    const float *q;                 /* [batch][heads][queries][head_dim] */
    const int64_t *first_positions; /* [batch]: global position of query 0 */
    const ta_shard *shards;         /* [batch] */
    const ta_mask *mask;            /* null for none */
    const float *source;            /* [batch][heads][queries][value_dim]: scores are scale * q.k + source.v; null for none */
    ta_rows rows;                   /* written; no out where only the lse is wanted: values are then read for a source only */
} ta_partial_params;

/* The attention of each query over the keys that it may see; a row that sees none becomes out = 0, lse = -inf. */
TA_API ta_status ta_partial(const ta_partial_params *params);

typedef struct ta_backward_params {
    ta_spec spec;
    const float *q;                 /* as in ta_partial_params, and so the following three */
    const int64_t *first_positions;
    const ta_shard *shards;
    const ta_mask *mask;
    ta_rows rows;                /* read: over ALL keys, those of other shards included */
    ta_rows row_gradients;       /* read: d loss / d out and d loss / d lse; no lse where that is 0 */
    float *dq;                   /* [batch][heads][queries][head_dim] */
    float *const *dkeys;         /* [batch] of [kv_heads][keys][head_dim], keys in the order of the pages */
    float *const *dvalues;       /* [batch] of [kv_heads][keys][value_dim] */
} ta_backward_params;

/* Adds the gradients of the loss by way of this shard's keys to dq, dkeys and dvalues. Sums over shards are the whole
   gradients. Needs memory for the sums of several threads: at most 15 times dkeys and dvalues, where KV heads are few. */
TA_API ta_status ta_backward(const ta_backward_params *params);

/* The tier that TA_ISA_ACTIVE stands for, and the best one that the machine itself can run. */
TA_API ta_isa ta_active_isa(void);
TA_API ta_isa ta_best_isa(void);
TA_API const char *ta_isa_name(ta_isa isa);

/* Threads that a call may use, its caller's included. Setting it ends the workers, once calls in flight have finished;
   the next call starts as many as it needs. */
TA_API int32_t ta_threads(void);
TA_API ta_status ta_set_threads(int32_t threads);

/* Working memory that threads keep between calls, in bytes. Depends on threads, heads and dimensions; from a few thousand
   keys on not on the number of keys. Backward's sums, which are freed at the end of a call, are not in it. */
TA_API int64_t ta_scratch_bytes(void);

/* Limits of this machine on the pool's threads, for fractions of peak: float32 multiply-adds (2 operations each) from
   registers, and reading memory from front to back once. One short measurement each; the best of several counts. */
TA_API ta_status ta_measure_fma(int32_t isa, double *flops_per_second);
TA_API ta_status ta_measure_read(int32_t isa, const void *memory, int64_t bytes, double *bytes_per_second);

#ifdef __cplusplus
}
#endif
#endif
