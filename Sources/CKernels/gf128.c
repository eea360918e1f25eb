// Polynomial evaluation over GF(2^128).
//
// Long strings go sixteen blocks a step: (a + b_1) r^16 + b_2 r^15 + … + b_16 r has sixteen
// independent products by fixed powers, whose sum is reduced once (the aggregated reduction of
// Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for Computing the
// GCM Mode", 2010). A product takes three carry-less products by Karatsuba's rule, the sums of the
// powers' halves being kept.
#include "clmul.h"
#include "gf128.h"

// Blocks a step, and the shortest string worth computing the powers for.
#define STEP 16
#define LONG_BLOCKS 48

/// The value of 255 bits given as low + middle * x^64 + high * x^128.
#define REDUCE(type, low, middle, high, xor, up, down, clmul, fold)                               \
    do {                                                                                          \
        const type upper_part_ = xor(high, down(middle));                                         \
        const type upper_ = clmul(upper_part_, fold, 1, 0);                                       \
        low = xor(low, up(xor(middle, upper_)));                                                  \
        low = xor(low, clmul(xor(upper_part_, down(upper_)), fold, 0, 0));                        \
    } while (0)

BEREK_INLINE vec_portable product_of_elements_portable(vec_portable a, vec_portable b) {
    vec_portable low = clmul_portable(a, b, 0, 0), high = clmul_portable(a, b, 1, 1);
    const vec_portable middle = xor_portable(
        product_portable(a.low ^ a.high, b.low ^ b.high), xor_portable(low, high));
    REDUCE(
        vec_portable, low, middle, high, xor_portable, up_portable, down_portable, clmul_portable,
        fold_portable());
    return low;
}

BEREK_INLINE vec_portable load_block_portable(const uint8_t *octets) {
    uint64_t words[2];
    memcpy(words, octets, sizeof words);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    words[0] = __builtin_bswap64(words[0]);
    words[1] = __builtin_bswap64(words[1]);
#endif
    return load_portable(words);
}

static void horner_portable(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks) {
    const vec_portable r = load_portable(point);
    vec_portable sum = load_portable(accumulator);
    for (size_t i = 0; i < blocks; i++) {
        sum = product_of_elements_portable(
            xor_portable(sum, load_block_portable(octets + 16 * i)), r);
    }
    store_portable(accumulator, sum);
}

#if defined(BEREK_CLMUL)
BEREK_CLMUL BEREK_INLINE vec_clmul load_block(const uint8_t *octets) {
    return load_clmul((const uint64_t *)(const void *)octets);
}

BEREK_CLMUL BEREK_INLINE vec_clmul product_of_elements(vec_clmul a, vec_clmul b) {
    vec_clmul low = clmul_clmul(a, b, 0, 0);
    const vec_clmul high = clmul_clmul(a, b, 1, 1);
    const vec_clmul middle = xor_clmul(clmul_clmul(a, b, 0, 1), clmul_clmul(a, b, 1, 0));
    REDUCE(
        vec_clmul, low, middle, high, xor_clmul, up_clmul, down_clmul, clmul_clmul, fold_clmul());
    return low;
}

/// powers[i] = point^(STEP - i), and sums[i] the exclusive or of the halves of it, in the low word.
BEREK_CLMUL static void make_powers(
    uint64_t powers[STEP][2], uint64_t sums[STEP][2], const uint64_t *point) {
    const vec_clmul r = load_clmul(point);
    vec_clmul power = r;
    for (size_t i = STEP; i-- > 0;) {
        store_clmul(powers[i], power);
        store_clmul(sums[i], xor_clmul(power, down_clmul(power)));
        power = product_of_elements(power, r);
    }
}

BEREK_CLMUL static void horner_short(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks) {
    const vec_clmul r = load_clmul(point);
    vec_clmul sum = load_clmul(accumulator);
    for (size_t i = 0; i < blocks; i++) {
        sum = product_of_elements(xor_clmul(sum, load_block(octets + 16 * i)), r);
    }
    store_clmul(accumulator, sum);
}

BEREK_CLMUL BEREK_INLINE vec_clmul total_clmul(vec_clmul a) { return a; }
BEREK_CLMUL BEREK_INLINE vec_clmul widened_clmul(vec_clmul a) { return a; }

#define LONG_HORNER(suffix, set)                                                                  \
    set static size_t horner_long_##suffix(                                                       \
        uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks) {     \
        _Alignas(64) uint64_t powers[STEP][2];                                                    \
        _Alignas(64) uint64_t sums[STEP][2];                                                      \
        make_powers(powers, sums, point);                                                         \
        vec_clmul sum = load_clmul(accumulator);                                                  \
        size_t done = 0;                                                                          \
        for (; done + STEP <= blocks; done += STEP) {                                             \
            vec_##suffix low = zero_##suffix(), high = low, cross = low;                          \
            _Pragma("clang loop unroll(full)") for (size_t i = 0; i < STEP;                       \
                                                    i += lanes_##suffix) {                        \
                const uint8_t *const from = octets + 16 * (done + i);                             \
                vec_##suffix b = load_##suffix((const uint64_t *)(const void *)from);             \
                if (i == 0) b = xor_##suffix(b, widened_##suffix(sum));                           \
                const vec_##suffix p = load_##suffix(powers[i]);                                  \
                const vec_##suffix q = load_##suffix(sums[i]);                                    \
                low = xor_##suffix(low, clmul_##suffix(b, p, 0, 0));                              \
                high = xor_##suffix(high, clmul_##suffix(b, p, 1, 1));                            \
                b = xor_##suffix(b, down_##suffix(b));                                            \
                cross = xor_##suffix(cross, clmul_##suffix(b, q, 0, 0));                          \
            }                                                                                     \
            sum = total_##suffix(low);                                                            \
            const vec_clmul top = total_##suffix(high);                                           \
            const vec_clmul middle = xor_clmul(total_##suffix(cross), xor_clmul(sum, top));       \
            REDUCE(                                                                               \
                vec_clmul, sum, middle, top, xor_clmul, up_clmul, down_clmul, clmul_clmul,        \
                fold_clmul());                                                                    \
        }                                                                                         \
        store_clmul(accumulator, sum);                                                            \
        berek_zeroize(powers, sizeof powers);                                                     \
        berek_zeroize(sums, sizeof sums);                                                         \
        return done;                                                                              \
    }

LONG_HORNER(clmul, BEREK_CLMUL)
#endif

#if defined(BEREK_CLMUL256)
BEREK_CLMUL256 BEREK_INLINE __m128i total_clmul256(__m256i a) {
    return _mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}
BEREK_CLMUL256 BEREK_INLINE __m256i widened_clmul256(__m128i a) {
    return _mm256_zextsi128_si256(a);
}

LONG_HORNER(clmul256, BEREK_CLMUL256)
#endif

void berek_gf128_horner(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks,
    berek_kernel kernel) {
#if defined(BEREK_CLMUL)
    const int width = berek_kernel_clmul_width(kernel);
    if (width > 0) {
        size_t done = 0;
        if (blocks >= LONG_BLOCKS) {
#if defined(BEREK_CLMUL256)
            done = width == 2 ? horner_long_clmul256(accumulator, point, octets, blocks)
                              : horner_long_clmul(accumulator, point, octets, blocks);
#else
            done = horner_long_clmul(accumulator, point, octets, blocks);
#endif
        }
        horner_short(accumulator, point, octets + 16 * done, blocks - done);
        return;
    }
#endif
    (void)kernel;
    horner_portable(accumulator, point, octets, blocks);
}

void berek_gf128_multiply(
    uint64_t *product, const uint64_t *left, const uint64_t *right, berek_kernel kernel) {
    const uint8_t nothing[16] = {0};
    uint64_t accumulator[2] = {left[0], left[1]};
    berek_gf128_horner(accumulator, right, nothing, 1, kernel);
    product[0] = accumulator[0];
    product[1] = accumulator[1];
}
