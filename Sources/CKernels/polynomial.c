// Products over GF(2)[x]: schoolbook on short operands, Karatsuba above (Karatsuba and Ofman
// 1962; over GF(2) addition is exclusive or, so no carries arise).
#include "dispatch.h"

#include <string.h>

#if defined(BEREK_X86)
#include <immintrin.h>
#elif defined(BEREK_ARM64)
#include <arm_neon.h>
#endif

// Operands of this many words or fewer are multiplied word by word.
#define SCHOOLBOOK_WORDS 8

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
BEREK_INLINE void multiply_portable(uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    *low = low_product(x, y);
    *high = reversed(low_product(reversed(x), reversed(y))) >> 1;
}

BEREK_INLINE void schoolbook_portable(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    memset(product, 0, 2 * words * sizeof(uint64_t));
    for (size_t i = 0; i < words; i++) {
        for (size_t j = 0; j < words; j++) {
            uint64_t low, high;
            multiply_portable(left[i], right[j], &low, &high);
            product[i + j] ^= low;
            product[i + j + 1] ^= high;
        }
    }
}

#if defined(BEREK_X86)
#define BEREK_CLMUL BEREK_TARGET("pclmul,sse4.1")

// Column by column, so that sums stay in registers: column k collects left[i] * right[k - i], its
// high half goes to the next column.
BEREK_CLMUL BEREK_INLINE void columns_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    uint64_t carry = 0;
    for (size_t k = 0; k + 1 < 2 * words; k++) {
        __m128i sum = _mm_setzero_si128();
        const size_t first = k < words ? 0 : k - words + 1;
        const size_t last = k < words ? k : words - 1;
        for (size_t i = first; i <= last; i++) {
            sum = _mm_xor_si128(
                sum, _mm_clmulepi64_si128(
                         _mm_loadl_epi64((const __m128i *)(left + i)),
                         _mm_loadl_epi64((const __m128i *)(right + k - i)), 0));
        }
        product[k] = (uint64_t)_mm_cvtsi128_si64(sum) ^ carry;
        carry = (uint64_t)_mm_extract_epi64(sum, 1);
    }
    product[2 * words - 1] = carry;
}

BEREK_CLMUL static void schoolbook_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    // A constant count lets the compiler unroll the common case.
    if (words == SCHOOLBOOK_WORDS) {
        columns_carryless(product, left, right, SCHOOLBOOK_WORDS);
    } else {
        columns_carryless(product, left, right, words);
    }
}

BEREK_CLMUL static void multiply_carryless(uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    const __m128i z = _mm_clmulepi64_si128(
        _mm_cvtsi64_si128((long long)x), _mm_cvtsi64_si128((long long)y), 0);
    *low = (uint64_t)_mm_cvtsi128_si64(z);
    *high = (uint64_t)_mm_extract_epi64(z, 1);
}
#elif defined(BEREK_ARM64)
#define BEREK_CLMUL __attribute__((target("aes")))

BEREK_CLMUL static void multiply_carryless(uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    const poly128_t z = vmull_p64((poly64_t)x, (poly64_t)y);
    *low = (uint64_t)z;
    *high = (uint64_t)(z >> 64);
}

BEREK_CLMUL static void schoolbook_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    memset(product, 0, 2 * words * sizeof(uint64_t));
    for (size_t i = 0; i < words; i++) {
        for (size_t j = 0; j < words; j++) {
            uint64_t low, high;
            multiply_carryless(left[i], right[j], &low, &high);
            product[i + j] ^= low;
            product[i + j + 1] ^= high;
        }
    }
}
#else
#define BEREK_CLMUL
static void schoolbook_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    schoolbook_portable(product, left, right, words);
}

static void multiply_carryless(uint64_t x, uint64_t y, uint64_t *low, uint64_t *high) {
    multiply_portable(x, y, low, high);
}
#endif

/// Karatsuba on a split at `low` = ceil(words / 2):
/// product = B^2low·HH + B^low·((L+H)(L'+H') + LL + HH) + LL.
static void karatsuba(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words,
    uint64_t *scratch, int carryless) {
    if (words <= SCHOOLBOOK_WORDS) {
        if (carryless) {
            schoolbook_carryless(product, left, right, words);
        } else {
            schoolbook_portable(product, left, right, words);
        }
        return;
    }
    const size_t low = (words + 1) / 2, high = words - low;
    uint64_t *left_sum = scratch, *right_sum = scratch + low, *middle = scratch + 2 * low;
    uint64_t *rest = scratch + 4 * low;
    for (size_t i = 0; i < low; i++) {
        left_sum[i] = left[i] ^ (i < high ? left[low + i] : 0);
        right_sum[i] = right[i] ^ (i < high ? right[low + i] : 0);
    }
    karatsuba(middle, left_sum, right_sum, low, rest, carryless);
    karatsuba(product, left, right, low, rest, carryless);
    karatsuba(product + 2 * low, left + low, right + low, high, rest, carryless);
    for (size_t i = 0; i < 2 * low; i++) middle[i] ^= product[i];
    for (size_t i = 0; i < 2 * high; i++) middle[i] ^= product[2 * low + i];
    for (size_t i = 0; i < 2 * low; i++) product[low + i] ^= middle[i];
}

size_t berek_polynomial_scratch(size_t words) {
    size_t total = 0;
    while (words > SCHOOLBOOK_WORDS) {
        words = (words + 1) / 2;
        total += 4 * words;
    }
    return total;
}

void berek_polynomial_multiply(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words,
    uint64_t *scratch, berek_kernel kernel) {
    if (words == 0) return;
    karatsuba(product, left, right, words, scratch, berek_kernel_carryless(kernel));
}

// ---- GF(2^128) ----

/// Reduces the 255-bit product (p3 p2 p1 p0) by x^128 = x^7 + x^2 + x + 1.
BEREK_INLINE void reduce(uint64_t *out, uint64_t p0, uint64_t p1, uint64_t p2, uint64_t p3) {
    // Fold the top word; the part shifted out of it lands in p2.
    p1 ^= p3 ^ p3 << 1 ^ p3 << 2 ^ p3 << 7;
    p2 ^= p3 >> 63 ^ p3 >> 62 ^ p3 >> 57;
    p0 ^= p2 ^ p2 << 1 ^ p2 << 2 ^ p2 << 7;
    p1 ^= p2 >> 63 ^ p2 >> 62 ^ p2 >> 57;
    out[0] = p0;
    out[1] = p1;
}

#define GF128_MULTIPLY(multiply, out, a0, a1, b0, b1)                                             \
    do {                                                                                          \
        uint64_t l0, l1, h0, h1, m0, m1;                                                          \
        multiply(a0, b0, &l0, &l1);                                                               \
        multiply(a1, b1, &h0, &h1);                                                               \
        multiply((a0) ^ (a1), (b0) ^ (b1), &m0, &m1);                                             \
        reduce(out, l0, l1 ^ m0 ^ l0 ^ h0, h0 ^ m1 ^ l1 ^ h1, h1);                                \
    } while (0)

BEREK_INLINE uint64_t load_word(const uint8_t *octets) {
    uint64_t word;
    memcpy(&word, octets, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

BEREK_CLMUL static void horner_carryless(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks) {
    for (size_t i = 0; i < blocks; i++) {
        const uint64_t a0 = accumulator[0] ^ load_word(octets + 16 * i);
        const uint64_t a1 = accumulator[1] ^ load_word(octets + 16 * i + 8);
        GF128_MULTIPLY(multiply_carryless, accumulator, a0, a1, point[0], point[1]);
    }
}

static void horner_portable(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks) {
    for (size_t i = 0; i < blocks; i++) {
        const uint64_t a0 = accumulator[0] ^ load_word(octets + 16 * i);
        const uint64_t a1 = accumulator[1] ^ load_word(octets + 16 * i + 8);
        GF128_MULTIPLY(multiply_portable, accumulator, a0, a1, point[0], point[1]);
    }
}

void berek_gf128_horner(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks,
    berek_kernel kernel) {
    if (berek_kernel_carryless(kernel)) {
        horner_carryless(accumulator, point, octets, blocks);
    } else {
        horner_portable(accumulator, point, octets, blocks);
    }
}

void berek_gf128_multiply(
    uint64_t *product, const uint64_t *left, const uint64_t *right, berek_kernel kernel) {
    const uint8_t nothing[16] = {0};
    uint64_t accumulator[2] = {left[0], left[1]};
    berek_gf128_horner(accumulator, right, nothing, 1, kernel);
    product[0] = accumulator[0];
    product[1] = accumulator[1];
}
