#ifndef BEREK_CLMUL_H
#define BEREK_CLMUL_H
#include "dispatch.h"

#include <string.h>

#if defined(BEREK_X86)
#include <immintrin.h>
#elif defined(BEREK_ARM64)
#include <arm_neon.h>
#endif

// Carry-less products of 64-bit words, and vectors of elements of
// GF(2^128) = GF(2)[x] / (x^128 + x^7 + x^2 + x + 1): the arithmetic that the polynomial product,
// the additive Fourier transform and the polynomial hash share. Each instruction set has a vector
// type and the same functions over it; `..._lanes` elements make a vector.

/// x^128 in the field, without its zero words.
#define GF128_FOLD 0x87

/// The low 64 bits of the carry-less product, by integer products of operands with three empty
/// bits between any two used ones: a column of four bits then counts the ones that meet in it,
/// and its lowest bit is their parity. Up to 15 meet without a carry; 16 do so only in the topmost
/// column, whose carry leaves the word. No memory access or branch depends on the operands.
BEREK_INLINE uint64_t low_product(uint64_t x, uint64_t y) {
    const uint64_t m0 = 0x1111111111111111u, m1 = m0 << 1, m2 = m0 << 2, m3 = m0 << 3;
    const uint64_t x0 = x & m0, x1 = x & m1, x2 = x & m2, x3 = x & m3;
    const uint64_t y0 = y & m0, y1 = y & m1, y2 = y & m2, y3 = y & m3;
    const uint64_t z0 = (x0 * y0) ^ (x1 * y3) ^ (x2 * y2) ^ (x3 * y1);
    const uint64_t z1 = (x0 * y1) ^ (x1 * y0) ^ (x2 * y3) ^ (x3 * y2);
    const uint64_t z2 = (x0 * y2) ^ (x1 * y1) ^ (x2 * y0) ^ (x3 * y3);
    const uint64_t z3 = (x0 * y3) ^ (x1 * y2) ^ (x2 * y1) ^ (x3 * y0);
    return (z0 & m0) | (z1 & m1) | (z2 & m2) | (z3 & m3);
}

BEREK_INLINE uint64_t reversed(uint64_t x) {
    x = (x & 0x5555555555555555u) << 1 | (x >> 1 & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) << 2 | (x >> 2 & 0x3333333333333333u);
    x = (x & 0x0F0F0F0F0F0F0F0Fu) << 4 | (x >> 4 & 0x0F0F0F0F0F0F0F0Fu);
    return __builtin_bswap64(x);
}

/// The high word is the low word of the product of the reversed operands, reversed, and shifted
/// because a product of two 64-bit strings has 127 bits.
BEREK_INLINE void word_product_portable(uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    *low = low_product(x, y);
    *high = reversed(low_product(reversed(x), reversed(y))) >> 1;
}

// ---- One element, no instruction needed ----

typedef struct {
    uint64_t low, high;
} vec_portable;
#define lanes_portable 1

BEREK_INLINE vec_portable load_portable(const uint64_t *p) { return (vec_portable){p[0], p[1]}; }
BEREK_INLINE void store_portable(uint64_t *p, vec_portable a) {
    p[0] = a.low;
    p[1] = a.high;
}
BEREK_INLINE vec_portable repeat_portable(const uint64_t *p) { return load_portable(p); }
BEREK_INLINE vec_portable xor_portable(vec_portable a, vec_portable b) {
    return (vec_portable){a.low ^ b.low, a.high ^ b.high};
}
/// The product of the words chosen by `a_high` and `b_high`.
#define clmul_portable(a, b, a_high, b_high)                                                      \
    product_portable((a_high) ? (a).high : (a).low, (b_high) ? (b).high : (b).low)
BEREK_INLINE vec_portable product_portable(uint64_t a, uint64_t b) {
    vec_portable z;
    word_product_portable(a, b, &z.low, &z.high);
    return z;
}
/// The element times x^64, its high word lost; and its high word alone.
BEREK_INLINE vec_portable up_portable(vec_portable a) { return (vec_portable){0, a.low}; }
BEREK_INLINE vec_portable down_portable(vec_portable a) { return (vec_portable){a.high, 0}; }
BEREK_INLINE vec_portable fold_portable(void) { return (vec_portable){GF128_FOLD, 0}; }
BEREK_INLINE vec_portable zero_portable(void) { return (vec_portable){0, 0}; }

#if defined(BEREK_X86)

// ---- One element, PCLMULQDQ ----

#define BEREK_CLMUL BEREK_TARGET("pclmul,sse4.1")
typedef __m128i vec_clmul;
#define lanes_clmul 1

BEREK_CLMUL BEREK_INLINE __m128i load_clmul(const uint64_t *p) {
    return _mm_loadu_si128((const __m128i *)p);
}
BEREK_CLMUL BEREK_INLINE void store_clmul(uint64_t *p, __m128i a) {
    _mm_storeu_si128((__m128i *)p, a);
}
BEREK_CLMUL BEREK_INLINE __m128i repeat_clmul(const uint64_t *p) { return load_clmul(p); }
BEREK_CLMUL BEREK_INLINE __m128i xor_clmul(__m128i a, __m128i b) { return _mm_xor_si128(a, b); }
#define clmul_clmul(a, b, a_high, b_high) _mm_clmulepi64_si128(a, b, (a_high) | (b_high) << 4)
BEREK_CLMUL BEREK_INLINE __m128i up_clmul(__m128i a) { return _mm_slli_si128(a, 8); }
BEREK_CLMUL BEREK_INLINE __m128i down_clmul(__m128i a) { return _mm_srli_si128(a, 8); }
BEREK_CLMUL BEREK_INLINE __m128i fold_clmul(void) { return _mm_set_epi64x(0, GF128_FOLD); }
BEREK_CLMUL BEREK_INLINE __m128i zero_clmul(void) { return _mm_setzero_si128(); }

// ---- Two elements, VPCLMULQDQ on 256 bits ----

#define BEREK_CLMUL256 BEREK_TARGET("vpclmulqdq,pclmul,avx2")
typedef __m256i vec_clmul256;
#define lanes_clmul256 2

BEREK_CLMUL256 BEREK_INLINE __m256i load_clmul256(const uint64_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
BEREK_CLMUL256 BEREK_INLINE void store_clmul256(uint64_t *p, __m256i a) {
    _mm256_storeu_si256((__m256i *)p, a);
}
BEREK_CLMUL256 BEREK_INLINE __m256i repeat_clmul256(const uint64_t *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
BEREK_CLMUL256 BEREK_INLINE __m256i xor_clmul256(__m256i a, __m256i b) {
    return _mm256_xor_si256(a, b);
}
#define clmul_clmul256(a, b, a_high, b_high)                                                      \
    _mm256_clmulepi64_epi128(a, b, (a_high) | (b_high) << 4)
BEREK_CLMUL256 BEREK_INLINE __m256i up_clmul256(__m256i a) { return _mm256_slli_si256(a, 8); }
BEREK_CLMUL256 BEREK_INLINE __m256i down_clmul256(__m256i a) { return _mm256_srli_si256(a, 8); }
BEREK_CLMUL256 BEREK_INLINE __m256i fold_clmul256(void) {
    return _mm256_set_epi64x(0, GF128_FOLD, 0, GF128_FOLD);
}
BEREK_CLMUL256 BEREK_INLINE __m256i zero_clmul256(void) { return _mm256_setzero_si256(); }

BEREK_CLMUL BEREK_INLINE void word_product_clmul(
    uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    const __m128i z = _mm_clmulepi64_si128(
        _mm_cvtsi64_si128((long long)x), _mm_cvtsi64_si128((long long)y), 0);
    *low = (uint64_t)_mm_cvtsi128_si64(z);
    *high = (uint64_t)_mm_extract_epi64(z, 1);
}

#elif defined(BEREK_ARM64)

// ---- One element, PMULL ----

#define BEREK_CLMUL __attribute__((target("aes")))
typedef uint64x2_t vec_clmul;
#define lanes_clmul 1

BEREK_CLMUL BEREK_INLINE uint64x2_t load_clmul(const uint64_t *p) { return vld1q_u64(p); }
BEREK_CLMUL BEREK_INLINE void store_clmul(uint64_t *p, uint64x2_t a) { vst1q_u64(p, a); }
BEREK_CLMUL BEREK_INLINE uint64x2_t repeat_clmul(const uint64_t *p) { return vld1q_u64(p); }
BEREK_CLMUL BEREK_INLINE uint64x2_t xor_clmul(uint64x2_t a, uint64x2_t b) {
    return veorq_u64(a, b);
}
#define clmul_clmul(a, b, a_high, b_high)                                                         \
    vreinterpretq_u64_p128(vmull_p64(                                                             \
        (poly64_t)vgetq_lane_u64(a, a_high), (poly64_t)vgetq_lane_u64(b, b_high)))
BEREK_CLMUL BEREK_INLINE uint64x2_t up_clmul(uint64x2_t a) {
    return vextq_u64(vdupq_n_u64(0), a, 1);
}
BEREK_CLMUL BEREK_INLINE uint64x2_t down_clmul(uint64x2_t a) {
    return vextq_u64(a, vdupq_n_u64(0), 1);
}
BEREK_CLMUL BEREK_INLINE uint64x2_t fold_clmul(void) {
    return vcombine_u64(vcreate_u64(GF128_FOLD), vcreate_u64(0));
}
BEREK_CLMUL BEREK_INLINE uint64x2_t zero_clmul(void) { return vdupq_n_u64(0); }

BEREK_CLMUL BEREK_INLINE void word_product_clmul(
    uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    const poly128_t z = vmull_p64((poly64_t)x, (poly64_t)y);
    *low = (uint64_t)z;
    *high = (uint64_t)(z >> 64);
}
#endif

#endif
