// Layered sum-product decoding of quasi-cyclic codes, vectorised over the circulant.
//
// The check update is exact: with t = tanh(q/2) of every incoming value q, the outgoing value of
// an edge is 2 artanh(sign * product of the others' t) (Gallager 1963; Richardson and Urbanke,
// "Modern Coding Theory", 2008, section 2.5). Only elementwise operations that IEEE 754 rounds
// correctly are used and contraction is off, so every instruction set gives the same bits.
#include "dispatch.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define TILE BEREK_LDPC_TILE
// Edges per check; the family stays below (columns of a code).
#define MAX_DEGREE 256

BEREK_INLINE float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

BEREK_INLINE uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// tanh(q/2), between 2^-20 and 1 in magnitude, with the sign of q.
BEREK_INLINE float tanh_half(float q) {
    const uint32_t sign = to_bits(q) & 0x80000000u;
    float magnitude = from_bits(to_bits(q) ^ sign);
    magnitude = magnitude < 40.0f ? magnitude : 40.0f;
    // exp(-|q|) = 2^n * 2^f with n the nearest integer.
    const float x = magnitude * -1.44269504f;
    const float shifted = x + 12582912.0f; // 1.5 * 2^23: the addition rounds to an integer
    const float f = x - (shifted - 12582912.0f);
    float p = 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    const float e = from_bits(to_bits(p) + (to_bits(shifted) << 23));
    float t = (1.0f - e) / (1.0f + e);
    t = t > 9.5367432e-7f ? t : 9.5367432e-7f;
    return from_bits(to_bits(t) | sign);
}

/// 2 artanh(u) for |u| clamped to 1 - 2^-23.
BEREK_INLINE float twice_artanh(float u) {
    const uint32_t sign = to_bits(u) & 0x80000000u;
    float magnitude = from_bits(to_bits(u) ^ sign);
    magnitude = magnitude < 0.99999988f ? magnitude : 0.99999988f;
    const float ratio = (1.0f + magnitude) / (1.0f - magnitude);
    // log(ratio) = n log 2 + log(m) with m in [1/sqrt 2, sqrt 2).
    const uint32_t offset = to_bits(ratio) - 0x3F3504F3u;
    const float n = (float)((int32_t)offset >> 23);
    const float m = from_bits((offset & 0x007FFFFFu) + 0x3F3504F3u);
    const float z = (m - 1.0f) / (m + 1.0f);
    const float w = z * z;
    float p = 0.22222222f;
    p = p * w + 0.28571429f;
    p = p * w + 0.4f;
    p = p * w + 0.66666667f;
    p = p * w + 2.0f;
    const float value = n * 0.69314718f + p * z;
    return from_bits(to_bits(value) | sign);
}

/// One tile of TILE checks of one row: reads and updates every edge.
BEREK_INLINE void update_tile(
    const berek_ldpc_code *code, int32_t row, int32_t first, float *restrict posterior,
    float *restrict message, const float *restrict sign) {
    float incoming[MAX_DEGREE][TILE];
    float transformed[MAX_DEGREE][TILE];
    float product[TILE];
    const int32_t lift = code->lift;
    const int32_t begin = code->row_start[row];
    const int32_t degree = code->row_start[row + 1] - begin;
    memcpy(product, sign + (size_t)row * lift + first, sizeof product);
    for (int32_t k = 0; k < degree; k++) {
        int32_t offset = first + code->shift[begin + k];
        if (offset >= lift) offset -= lift;
        const float *from = posterior + (size_t)code->column[begin + k] * (lift + TILE) + offset;
        const float *old = message + (size_t)(begin + k) * lift + first;
        float *q = incoming[k];
        float *t = transformed[k];
        for (int32_t i = 0; i < TILE; i++) {
            q[i] = from[i] - old[i];
            t[i] = tanh_half(q[i]);
            product[i] *= t[i];
        }
    }
    for (int32_t k = 0; k < degree; k++) {
        int32_t offset = first + code->shift[begin + k];
        if (offset >= lift) offset -= lift;
        float *column = posterior + (size_t)code->column[begin + k] * (lift + TILE);
        float *to = column + offset;
        float *fresh = message + (size_t)(begin + k) * lift + first;
        const float *q = incoming[k];
        const float *t = transformed[k];
        for (int32_t i = 0; i < TILE; i++) {
            const float value = twice_artanh(product[i] / t[i]);
            fresh[i] = value;
            to[i] = q[i] + value;
        }
        // Keep the repeated part of the column equal to its original.
        if (offset + TILE > lift) {
            memcpy(column, column + lift, (size_t)(offset + TILE - lift) * sizeof(float));
        }
        if (offset < TILE) {
            memcpy(to + lift, to, (size_t)(TILE - offset) * sizeof(float));
        }
    }
}

BEREK_INLINE void sweep(
    const berek_ldpc_code *code, float *posterior, float *message, const float *sign) {
    for (int32_t row = 0; row < code->rows; row++) {
        for (int32_t first = 0; first < code->lift; first += TILE) {
            update_tile(code, row, first, posterior, message, sign);
        }
    }
}

BEREK_INLINE void decide(int32_t words, const float *posterior, uint64_t *bits) {
    for (int32_t word = 0; word < words; word++) {
        uint64_t value = 0;
        for (int32_t i = 0; i < 64; i++) {
            value |= (uint64_t)(to_bits(posterior[word * 64 + i]) >> 31) << i;
        }
        bits[word] = value;
    }
}

#if defined(BEREK_X86)
BEREK_TARGET(BEREK_AVX2)
static void sweep_avx2(
    const berek_ldpc_code *code, float *posterior, float *message, const float *sign) {
    sweep(code, posterior, message, sign);
}

BEREK_TARGET(BEREK_AVX512)
static void sweep_avx512(
    const berek_ldpc_code *code, float *posterior, float *message, const float *sign) {
    sweep(code, posterior, message, sign);
}

BEREK_TARGET(BEREK_AVX2)
static void decide_avx2(int32_t words, const float *posterior, uint64_t *bits) {
    decide(words, posterior, bits);
}
#endif

void berek_ldpc_sweep(
    const berek_ldpc_code *code, float *posterior, float *message, const float *sign,
    berek_kernel kernel) {
    switch (berek_kernel_vector(kernel)) {
#if defined(BEREK_X86)
    case BEREK_KERNEL_AVX512:
        sweep_avx512(code, posterior, message, sign);
        return;
    case BEREK_KERNEL_AVX2:
        sweep_avx2(code, posterior, message, sign);
        return;
#endif
    default:
        sweep(code, posterior, message, sign);
    }
}

void berek_ldpc_decide(
    int32_t columns, int32_t lift, const float *posterior, uint64_t *bits, berek_kernel kernel) {
    const berek_kernel variant = berek_kernel_vector(kernel);
    (void)variant;
    for (int32_t column = 0; column < columns; column++) {
        const float *from = posterior + (size_t)column * (lift + TILE);
        uint64_t *to = bits + (size_t)column * (lift / 64);
#if defined(BEREK_X86)
        if (variant != BEREK_KERNEL_PORTABLE) {
            decide_avx2(lift / 64, from, to);
            continue;
        }
#endif
        decide(lift / 64, from, to);
    }
}

void berek_ldpc_syndrome(const berek_ldpc_code *code, const uint64_t *bits, uint64_t *syndrome) {
    const int32_t words = code->lift / 64;
    for (int32_t row = 0; row < code->rows; row++) {
        uint64_t *sum = syndrome + (size_t)row * words;
        memset(sum, 0, (size_t)words * sizeof(uint64_t));
        for (int32_t edge = code->row_start[row]; edge < code->row_start[row + 1]; edge++) {
            const uint64_t *column = bits + (size_t)code->column[edge] * words;
            const int32_t turn = code->shift[edge] & 63;
            int32_t from = code->shift[edge] >> 6;
            for (int32_t word = 0; word < words; word++) {
                const int32_t next = from + 1 == words ? 0 : from + 1;
                sum[word] ^= turn == 0
                    ? column[from]
                    : column[from] >> turn | column[next] << (64 - turn);
                from = next;
            }
        }
    }
}
