// The middle product over GF(2)[x] that a Toeplitz hash is, by additive Fourier transform.
//
// Operands are cut into words, the coefficients of polynomials in y over GF(2)[x], and a word is
// read as an element of GF(2^128): products of two words have 127 bits, so that the field's
// reduction never acts on them and coefficients of the product come out whole.
//
// The wanted words c_i = sum_j l_(i + j) r_j, r read backwards, are a transposed product: the
// product a -> a * r of polynomials below y^(N/2) and N points is interpolation after pointwise
// products after evaluation, I D E, so the map from l to c is E' D I' with transposed matrices.
// It takes three transforms of N points, N >= right + window - 1 words, where the whole product
// would take as many of twice the length (transposition principle: Bordewijk 1956, Fiduccia 1973;
// Hanrot, Quercia and Zimmermann, Appl. Algebra Eng. Commun. Comput. 14, 415, 2004).
//
// The transform is that of Lin, Chung and Han (FOCS 2014) on the Cantor basis b_0 = 1,
// b_i^2 + b_i = b_(i-1), after a change of basis by exclusive or alone (Gao and Mateer, IEEE
// Trans. Inf. Theory 56, 6265, 2010). With s_i the polynomial that vanishes on the span of the
// first i elements, s_i(b_j) = b_(j-i), so that layer i has in its block g the factor
// sum_t g_t b_(t+1), whatever i is. Cutting into words for GF(2^128) is as in Chen, Cheng, Kuo, Li
// and Yang (arXiv:1708.09746).
//
// N points take N/2 butterflies in each of log2(N) layers, of five carry-less products each; the
// layers above the operands' own length copy or sum. Memory is passed over in three passes, see
// `struct shape`. Nothing branches on or indexes by bits of the operands.
#define _DEFAULT_SOURCE
#include "clmul.h"
#include "middle_product.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

// Elements of 16 octets: a block fits the first-level cache together with its factors, two rows
// fit the second-level cache.
#define BLOCK_BITS 9
#define ROW_BITS 13
// A strip of all rows has so many elements, or four columns where that is more.
#define STRIP_ELEMENTS 8192

/// A factor c of a layer, and c * x^64.
struct factor {
    uint64_t plain[2], raised[2];
};

#define FACTOR_BITS (BLOCK_BITS - 1)
#define FACTORS ((size_t)1 << FACTOR_BITS)

/// The factors of blocks 0 ..< FACTORS, and those of the bits of higher block numbers.
struct factors {
    _Alignas(64) uint64_t plain[FACTORS][2];
    uint64_t raised[FACTORS][2];
    struct factor bit[32];
};

/// How the transform lies in memory: 2^bits elements in rows of 2^row_bits. The layers that join
/// rows work on strips of a few columns of all rows, copied together (passes 1 and 3); all other
/// layers and the pointwise products work row by row (pass 2).
struct shape {
    unsigned bits, right_bits, window_bits, row_bits, row_count_bits;
    size_t strip_width, right_words, window_words;
};

/// The change to the basis of the transform; the transpose of its inverse; its transpose.
enum basis_change { TO_NOVEL, TO_NOVEL_INVERSE_TRANSPOSED, TO_NOVEL_TRANSPOSED };

/// The butterflies, c being the factor: u += c v, v += u; v += c u, u += v; u += v, v += c u.
enum butterfly { EVALUATE, INTERPOLATE_TRANSPOSED, EVALUATE_TRANSPOSED };

// In each step the root whose bit 0 is clear; the other is the root plus 1.
static const uint64_t cantor_basis[32][2] = {
    {0x0000000000000001, 0x0000000000000000},
    {0x676aac9fa4b20b08, 0x295ac0b1f4731af9},
    {0xff1099c31bbe8f22, 0xa2134422cd4054c9},
    {0x53b85b6402b1e848, 0x7959d70ce1ee6942},
    {0xcabcd8e4694e5644, 0x08f6b313e935b8e2},
    {0x4d48b16661e860ec, 0x49c9321635282198},
    {0xa13fe8ac5560ce0c, 0x053d8555a9979a1c},
    {0x5cb10fbabcf00118, 0x4d52354a3a3d8c86},
    {0xe18c55b8e07d3612, 0x2ccae6ed8d6b4cd0},
    {0x588b6244c5d74470, 0x210d8fbe72672c66},
    {0xd047dada84654da4, 0xc211182c85e148b3},
    {0xfed3b473eeb39df8, 0x104d101e47f1f112},
    {0xbf199eb4f675f2ac, 0xce955ea0da2a682b},
    {0x19c55b8d6bef4c98, 0xdbacfb2ac336178f},
    {0xf5531b28858156d0, 0x58770bc4e101ab94},
    {0x8b97b65b221cc4e4, 0x497f8adb47e0ae82},
    {0xa10cfc6a1654c578, 0x05aa755df14f64da},
    {0xbae99a4e3fbe0c54, 0x82db354523f40c7b},
    {0x8e808ec2a80c4662, 0xba5ba13dbf25ee6b},
    {0x5c2b82c39ef7a93c, 0x300b8602354dbc70},
    {0x882e2943d5ee4534, 0xc25f5e75edaa4fa9},
    {0x95d3204b1d1dd922, 0x39092e35de04cc32},
    {0xcb6e1a7035541fd6, 0x8ab363f0b1f0f211},
    {0xa1318678293664f4, 0xbe1eca746232042b},
    {0xe684ecc9b397a5fe, 0xb3b2d35103f1a3ed},
    {0x6da6f30e41a8edf0, 0x34b0cc6ccf4ee620},
    {0xacd605531d728f16, 0xa6af6a59808b2143},
    {0x036771e3ca90ca14, 0x3555819a552c1192},
    {0xc6c1932eeb78b72a, 0xeabea114c8ae9a9f},
    {0xfc5874dd3b9425ce, 0x1988519c2a18a57c},
    {0x70ec558472062c44, 0x60abfabc33f697de},
    {0xa9e47128863ba654, 0x0df68fe1cdf73f30},
};

void berek_cantor_element(size_t index, uint64_t *element) {
    memcpy(element, cantor_basis[index & 31], sizeof cantor_basis[0]);
}

BEREK_INLINE void add_factor(struct factor *sum, const struct factor *other) {
    for (size_t i = 0; i < 2; i++) {
        sum->plain[i] ^= other->plain[i];
        sum->raised[i] ^= other->raised[i];
    }
}

static void make_factors(struct factors *factors) {
    memset(factors, 0, sizeof *factors);
    for (size_t t = 0; t + 1 < 32; t++) {
        const uint64_t low = cantor_basis[t + 1][0], high = cantor_basis[t + 1][1];
        struct factor *const factor = &factors->bit[t];
        factor->plain[0] = low;
        factor->plain[1] = high;
        factor->raised[0] = high ^ high << 1 ^ high << 2 ^ high << 7;
        factor->raised[1] = low ^ high >> 63 ^ high >> 62 ^ high >> 57;
    }
    for (size_t t = 0; t < FACTOR_BITS; t++) {
        for (size_t g = 0; g < (size_t)1 << t; g++) {
            for (size_t i = 0; i < 2; i++) {
                factors->plain[g | (size_t)1 << t][i] =
                    factors->plain[g][i] ^ factors->bit[t].plain[i];
                factors->raised[g | (size_t)1 << t][i] =
                    factors->raised[g][i] ^ factors->bit[t].raised[i];
            }
        }
    }
}

/// The factor of block `number` but for its low FACTOR_BITS bits.
static struct factor factor_above(const struct factors *factors, size_t number) {
    struct factor sum = {{0, 0}, {0, 0}};
    number >>= FACTOR_BITS;
    for (size_t t = FACTOR_BITS; number != 0; t++, number >>= 1) {
        if (number & 1) add_factor(&sum, &factors->bit[t]);
    }
    return sum;
}

BEREK_INLINE struct factor factor_of(const struct factors *factors, size_t number) {
    struct factor sum = {{0, 0}, {0, 0}};
    if (number >> FACTOR_BITS) sum = factor_above(factors, number);
    for (size_t i = 0; i < 2; i++) {
        sum.plain[i] ^= factors->plain[number & (FACTORS - 1)][i];
        sum.raised[i] ^= factors->raised[number & (FACTORS - 1)][i];
    }
    return sum;
}

#define BEREK_SUFFIX portable
#define BEREK_SET
#define BEREK_WORD_PRODUCT word_product_portable
#define BEREK_TWO_LANES 0
#include "middle_product_variant.h"
#undef BEREK_SUFFIX
#undef BEREK_SET
#undef BEREK_WORD_PRODUCT
#undef BEREK_TWO_LANES

#if defined(BEREK_CLMUL)
#define BEREK_SUFFIX clmul
#define BEREK_SET BEREK_CLMUL
#define BEREK_WORD_PRODUCT word_product_clmul
#define BEREK_TWO_LANES 0
#include "middle_product_variant.h"
#undef BEREK_SUFFIX
#undef BEREK_SET
#undef BEREK_WORD_PRODUCT
#undef BEREK_TWO_LANES
#endif

#if defined(BEREK_CLMUL256)
#define BEREK_SUFFIX clmul256
#define BEREK_SET BEREK_CLMUL256
#define BEREK_WORD_PRODUCT word_product_clmul
#define BEREK_TWO_LANES 1
#include "middle_product_variant.h"
#undef BEREK_SUFFIX
#undef BEREK_SET
#undef BEREK_WORD_PRODUCT
#undef BEREK_TWO_LANES
#endif

static unsigned bits_for(size_t count) {
    unsigned bits = 2;
    while ((size_t)1 << bits < count) bits++;
    return bits;
}

static struct shape shape_of(size_t right_words, size_t window_words) {
    struct shape shape;
    shape.right_words = right_words;
    shape.window_words = window_words;
    shape.bits = bits_for(right_words + window_words - 1);
    shape.right_bits = bits_for(right_words);
    shape.window_bits = bits_for(window_words);
    shape.row_bits = shape.bits < ROW_BITS ? shape.bits : ROW_BITS;
    shape.row_count_bits = shape.bits - shape.row_bits;
    const size_t columns = (size_t)STRIP_ELEMENTS >> shape.row_count_bits;
    shape.strip_width = shape.row_count_bits == 0 ? 0 : columns < 4 ? 4 : columns;
    return shape;
}

size_t berek_middle_product_work(size_t right_words, size_t window_words) {
    const struct shape shape = shape_of(right_words, window_words);
    return ((size_t)5 << shape.bits) + sizeof(struct factors) / sizeof(uint64_t)
        + (2 * shape.strip_width << shape.row_count_bits) + 16;
}

void berek_middle_product(
    uint64_t *window, size_t window_words, const uint64_t *left, const uint64_t *right,
    size_t right_words, uint64_t *work, berek_kernel kernel) {
    const struct shape shape = shape_of(right_words, window_words);
    switch (berek_kernel_clmul_width(kernel)) {
#if defined(BEREK_CLMUL256)
    case 2: middle_product_clmul256(window, left, right, &shape, work); break;
#endif
#if defined(BEREK_CLMUL)
    case 1: middle_product_clmul(window, left, right, &shape, work); break;
#endif
    default: middle_product_portable(window, left, right, &shape, work); break;
    }
}

void berek_copy_bits(
    uint64_t *words, size_t count, const uint64_t *source, size_t source_words,
    int64_t bit_offset) {
    const int64_t first = bit_offset >> 6, end = (int64_t)source_words;
    const unsigned shift = (unsigned)(bit_offset & 63);
    // Words from `inside` to `last` come from two words of the source, the others from fewer.
    const int64_t needed = (int64_t)count;
    int64_t inside = first < 0 ? -first : 0, last = end - 1 - first;
    if (inside > needed) inside = needed;
    if (last > needed) last = needed;
    if (last < inside) last = inside;
    for (int64_t i = 0; i < needed; i++) {
        if (i == inside) {
            for (; i < last; i++) {
                const uint64_t high = source[first + i + 1] << 1 << (63 - shift);
                words[i] = source[first + i] >> shift | high;
            }
            if (i == needed) break;
        }
        const int64_t at = first + i;
        const uint64_t low = at >= 0 && at < end ? source[at] : 0;
        const uint64_t high = at + 1 >= 0 && at + 1 < end ? source[at + 1] : 0;
        words[i] = low >> shift | high << 1 << (63 - shift);
    }
}

void berek_advise_large(void *memory, size_t octets) {
#if defined(__linux__)
    const uintptr_t page = 4096, start = ((uintptr_t)memory + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)memory + octets) & ~(page - 1);
    if (end > start && octets >= (size_t)1 << 22) {
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
    }
#else
    (void)memory;
    (void)octets;
#endif
}
