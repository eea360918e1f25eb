// The modified Toeplitz hash as other programs compute it: cyclic convolution by Fourier transforms
// of doubles, FFTW 3 (Frigo and Johnson, Proc. IEEE 93, 216, 2005). A peer to compare with: no part
// of the product, in which no key passes through floating point.
//
//   fftw_toeplitz INPUT_BITS OUTPUT_BITS RUNS PLANNING_SECONDS
//
// With 0 planning seconds FFTW estimates its plans, else it measures them for so long at most.
// Prints the median processor time of one hash in seconds, without planning and without drawing
// key and seed, and the FNV-1a digest of its output words. Key and seed are those of
// Benchmarks/Core/PrivacyAmplification.swift. One thread.
#define _POSIX_C_SOURCE 199309L
#include <fftw3.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// SplitMix64.
static uint64_t next_word(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct hash {
    size_t input, output;
    uint64_t *seed, *key, *result;
    double *first, *second;
    fftw_plan forward_first, forward_second, backward;
};

static void spread(double *out, const uint64_t *words, size_t bits, size_t length) {
    size_t i = 0;
    for (; i + 64 <= bits; i += 64) {
        const uint64_t word = words[i / 64];
        for (size_t j = 0; j < 64; j++) out[i + j] = (double)(word >> j & 1);
    }
    for (; i < bits; i++) out[i] = (double)(words[i / 64] >> (i % 64) & 1);
    memset(out + bits, 0, (length - bits) * sizeof *out);
}

/// T x2 is coefficients n - m - 1 ... n - 2 of seed * x2; what the cycle of n points adds to the
/// product's start stays below them.
static void run(struct hash *h) {
    const size_t n = h->input, m = h->output, half = n / 2 + 1;
    spread(h->first, h->seed, n - 1, n);
    spread(h->second, h->key + m / 64, n - m, n);
    fftw_execute(h->forward_first);
    fftw_execute(h->forward_second);
    double *const a = h->first, *const b = h->second;
    for (size_t i = 0; i < half; i++) {
        const double re = a[2 * i] * b[2 * i] - a[2 * i + 1] * b[2 * i + 1];
        const double im = a[2 * i] * b[2 * i + 1] + a[2 * i + 1] * b[2 * i];
        a[2 * i] = re;
        a[2 * i + 1] = im;
    }
    fftw_execute(h->backward);
    const double scale = 1.0 / (double)n;
    for (size_t i = 0; i < m; i += 64) {
        uint64_t word = 0;
        for (size_t j = 0; j < 64; j++) {
            word |= (uint64_t)((int64_t)(a[n - m - 1 + i + j] * scale + 0.5) & 1) << j;
        }
        h->result[i / 64] = word ^ h->key[i / 64];
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: fftw_toeplitz INPUT_BITS OUTPUT_BITS RUNS PLANNING_SECONDS\n");
        return 2;
    }
    struct hash h;
    h.input = strtoull(arguments[1], NULL, 10);
    h.output = strtoull(arguments[2], NULL, 10);
    const size_t runs = strtoull(arguments[3], NULL, 10);
    if (h.input % 128 || h.output % 64 || !h.output || h.output >= h.input || !runs || runs > 99) {
        fprintf(stderr, "fftw_toeplitz: input in units of 128 bits, output of 64, 1 to 99 runs\n");
        return 2;
    }
    const size_t words = h.input / 64;
    h.seed = malloc(words * sizeof(uint64_t));
    h.key = malloc(words * sizeof(uint64_t));
    h.result = malloc(words * sizeof(uint64_t));
    h.first = fftw_alloc_real(h.input + 2);
    h.second = fftw_alloc_real(h.input + 2);
    if (!h.seed || !h.key || !h.result || !h.first || !h.second) return 1;
    uint64_t seed_state = 1, key_state = 2;
    for (size_t i = 0; i < words; i++) h.seed[i] = next_word(&seed_state);
    for (size_t i = 0; i < words; i++) h.key[i] = next_word(&key_state);
    const double planning = strtod(arguments[4], NULL);
    const unsigned effort = planning > 0 ? FFTW_MEASURE : FFTW_ESTIMATE;
    if (planning > 0) fftw_set_timelimit(planning);
    const int n = (int)h.input;
    h.forward_first = fftw_plan_dft_r2c_1d(n, h.first, (fftw_complex *)h.first, effort);
    h.forward_second = fftw_plan_dft_r2c_1d(n, h.second, (fftw_complex *)h.second, effort);
    h.backward = fftw_plan_dft_c2r_1d(n, (fftw_complex *)h.first, h.first, effort);
    if (!h.forward_first || !h.forward_second || !h.backward) return 1;

    double times[99];
    for (size_t i = 0; i < runs; i++) {
        const double start = processor_seconds();
        run(&h);
        times[i] = processor_seconds() - start;
    }
    qsort(times, runs, sizeof *times, by_value);
    uint64_t digest = 0xcbf29ce484222325u;
    for (size_t i = 0; i < h.output / 64; i++) {
        for (unsigned shift = 0; shift < 64; shift += 8) {
            digest = (digest ^ (h.result[i] >> shift & 0xff)) * 0x100000001b3u;
        }
    }
    printf("%.9f %016llx\n", times[runs / 2], (unsigned long long)digest);
    return 0;
}
