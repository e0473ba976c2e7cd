// Times MPI_Allreduce of attention states: rows of dim outputs and their lse. Prints the nanoseconds of each call on rank 0.
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 1000 };

static int dim;

// acc = in merged with acc; the rows of lower ranks come in.
static void merge(void *in, void *acc, int *rows, MPI_Datatype *type) {
    (void)type;
    for (int row = 0; row < *rows; row++) {
        const float *a = (const float *)in + (size_t)row * (dim + 1);
        float *b = (float *)acc + (size_t)row * (dim + 1);
        float max = a[dim] > b[dim] ? a[dim] : b[dim];
        if (max == -INFINITY) {
            continue;
        }
        double wa = exp((double)a[dim] - max), wb = exp((double)b[dim] - max), sum = wa + wb;
        double sa = wa / sum, sb = wb / sum;
        for (int i = 0; i < dim; i++) {
            b[i] = (float)(sa * a[i] + sb * b[i]);
        }
        b[dim] = (float)(max + log(sum));
    }
}

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + 1e-6 * (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void time_calls(const char *name, int rank, int calls, const float *own, float *result, int count,
                       MPI_Datatype type, MPI_Op op) {
    long *nanos = malloc(sizeof(long) * calls);
    for (int call = -WARM_UP; call < calls; call++) {
        long start = now();
        MPI_Allreduce(own, result, count, type, op, MPI_COMM_WORLD);
        if (call >= 0) {
            nanos[call] = now() - start;
        }
    }
    if (rank == 0) {
        printf("%s", name);
        for (int call = 0; call < calls; call++) {
            printf(" %ld", nanos[call]);
        }
        printf("\n");
    }
    free(nanos);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    if (argc != 4) {
        fprintf(stderr, "usage: allreduce HEADS DIM CALLS\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int rank, heads = atoi(argv[1]), calls = atoi(argv[3]);
    dim = atoi(argv[2]);
    int floats = heads * (dim + 1);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    float *own = malloc(sizeof(float) * floats), *result = malloc(sizeof(float) * floats);
    for (int i = 0; i < floats; i++) {
        own[i] = (float)sin(i + 31 * rank);
    }
    MPI_Datatype row;
    MPI_Type_contiguous(dim + 1, MPI_FLOAT, &row);
    MPI_Type_commit(&row);
    MPI_Op op;
    MPI_Op_create(merge, 1, &op);
    time_calls("merge", rank, calls, own, result, heads, row, op);
    time_calls("sum", rank, calls, own, result, floats, MPI_FLOAT, MPI_SUM);

    MPI_Barrier(MPI_COMM_WORLD);
    double cpu = cpu_seconds();
    long start = now();
    if (rank == 0) {
        sleep(1);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    double share = (cpu_seconds() - cpu) / (1e-9 * (now() - start)), most;
    MPI_Reduce(&share, &most, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("waiting %.4f\n", most);
    }
    MPI_Finalize();
    return 0;
}
