// Products over GF(2)[x]: schoolbook on short operands, Karatsuba above (Karatsuba and Ofman
// 1962; over GF(2) addition is exclusive or, so no carries arise).
#include "clmul.h"

// Operands of this many words or fewer are multiplied word by word.
#define SCHOOLBOOK_WORDS 8

BEREK_INLINE void schoolbook_portable(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    memset(product, 0, 2 * words * sizeof(uint64_t));
    for (size_t i = 0; i < words; i++) {
        for (size_t j = 0; j < words; j++) {
            uint64_t low, high;
            word_product_portable(left[i], right[j], &low, &high);
            product[i + j] ^= low;
            product[i + j + 1] ^= high;
        }
    }
}

#if defined(BEREK_X86)
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

#elif defined(BEREK_CLMUL)
BEREK_CLMUL static void schoolbook_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    memset(product, 0, 2 * words * sizeof(uint64_t));
    for (size_t i = 0; i < words; i++) {
        for (size_t j = 0; j < words; j++) {
            uint64_t low, high;
            word_product_clmul(left[i], right[j], &low, &high);
            product[i + j] ^= low;
            product[i + j + 1] ^= high;
        }
    }
}
#else
static void schoolbook_carryless(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words) {
    schoolbook_portable(product, left, right, words);
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
    karatsuba(product, left, right, words, scratch, berek_kernel_clmul_width(kernel) > 0);
}
