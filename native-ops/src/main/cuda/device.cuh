// What the kernels take from the machine itself: element types, conversions and instructions. No header is included, so that any
// NVRTC compiles this; the host shim of the tests puts functions of the same names in the place of this file.
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define SHARED __shared__ __align__(16)

struct Half {
    unsigned short bits;
};
struct Bfloat {
    unsigned short bits;
};
struct __align__(16) Words {
    unsigned w[4];
};

// The shared memory that the launch asked for.
DEVICE unsigned char *dynamic_shared() {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
}

DEVICE float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000u)); }

// 2^x; 0 for -infinity
DEVICE float exp2_of(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(Half x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
DEVICE float to_float(Bfloat x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

// Rounded to nearest even.
DEVICE Half rounded(float x, Half) {
    Half y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
DEVICE Bfloat rounded(float x, Bfloat) {
    Bfloat y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

constexpr unsigned kWholeWarp = 0xffffffffu;

DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(kWholeWarp, x, lanes); }
DEVICE float shuffle(float x, int lane) { return __shfl_sync(kWholeWarp, x, lane); }
DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE void set_flag(int *flag) { atomicOr(flag, 1); }

// Starts a copy of 16 bytes from global to shared memory, or of zeros where take is false; both aligned.
DEVICE void copy_async(void *to, const void *from, bool take) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    const int bytes = take ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of the thread's groups are on their way.
template <int N>
DEVICE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane i of each 8 gives the address of row i of matrix lane / 8.
DEVICE void load_matrices(unsigned (&r)[4], const void *row) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
DEVICE void load_matrices_transposed(unsigned (&r)[4], const void *row) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// c += a b of 16x16 by 16x8 elements
DEVICE void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Half) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Bfloat) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
