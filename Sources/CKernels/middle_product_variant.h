// The transform for one instruction set; middle_product.c includes this file once for each, with
// BEREK_SUFFIX naming the set in clmul.h and BEREK_SET its target attribute. No include guard.

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define V(name) JOIN(name, BEREK_SUFFIX)
#define LANES V(lanes_)
#define LOAD V(load_)
#define STORE V(store_)
#define XOR V(xor_)
#define CLMUL V(clmul_)
typedef V(vec_) V(vector_);

#include "basis_change_variant.h"

// ---- Butterflies ----

/// The product with a constant c, given also s = c * x^64: two rows of two products, and one to
/// reduce the word above x^128.
BEREK_SET BEREK_INLINE V(vector_) V(scale_)(
    V(vector_) v, V(vector_) c, V(vector_) s, V(vector_) fold) {
    const V(vector_) low = XOR(CLMUL(v, c, 0, 0), CLMUL(v, s, 1, 0));
    const V(vector_) middle = XOR(CLMUL(v, c, 0, 1), CLMUL(v, s, 1, 1));
    return XOR(XOR(low, V(up_)(middle)), CLMUL(middle, fold, 1, 0));
}

/// The product of two elements.
BEREK_SET BEREK_INLINE V(vector_) V(multiply_)(V(vector_) a, V(vector_) b, V(vector_) fold) {
    const V(vector_) middle = XOR(CLMUL(a, b, 0, 1), CLMUL(a, b, 1, 0));
    const V(vector_) low = XOR(CLMUL(a, b, 0, 0), V(up_)(middle));
    const V(vector_) high = XOR(CLMUL(a, b, 1, 1), V(down_)(middle));
    const V(vector_) upper = CLMUL(high, fold, 1, 0);
    const V(vector_) lower = CLMUL(XOR(high, V(down_)(upper)), fold, 0, 0);
    return XOR(XOR(low, V(up_)(upper)), lower);
}

#define BUTTERFLY(u, v, c, s, fold, kind)                                                         \
    do {                                                                                          \
        if ((kind) == EVALUATE) {                                                                 \
            u = XOR(u, V(scale_)(v, c, s, fold));                                                 \
            v = XOR(v, u);                                                                        \
        } else if ((kind) == INTERPOLATE_TRANSPOSED) {                                            \
            v = XOR(v, V(scale_)(u, c, s, fold));                                                 \
            u = XOR(u, v);                                                                        \
        } else {                                                                                  \
            u = XOR(u, v);                                                                        \
            v = XOR(v, V(scale_)(u, c, s, fold));                                                 \
        }                                                                                         \
    } while (0)

/// Butterflies of `count` elements from u on with as many from v on, a multiple of LANES.
BEREK_SET BEREK_INLINE void V(butterflies_)(
    uint64_t *u, uint64_t *v, size_t count, struct factor factor, enum butterfly kind) {
    const V(vector_) c = V(repeat_)(factor.plain), s = V(repeat_)(factor.raised);
    const V(vector_) fold = V(fold_)();
    for (size_t i = 0; i < 2 * count; i += 2 * LANES) {
        V(vector_) x = LOAD(u + i), y = LOAD(v + i);
        BUTTERFLY(x, y, c, s, fold, kind);
        STORE(u + i, x);
        STORE(v + i, y);
    }
}

/// One layer over 2^bits elements in groups of `width`: pairs of groups 2^layer apart. `first` is
/// the number of the first block among all blocks of the layer; block 0 has the factor 0.
BEREK_SET BEREK_INLINE void V(layer_)(
    uint64_t *data, unsigned bits, unsigned layer, size_t width, size_t first,
    const struct factors *factors, enum butterfly kind) {
    const size_t half = width << layer;
    for (size_t b = 0; b < (size_t)1 << (bits - 1 - layer); b++) {
        uint64_t *u = data + 4 * half * b, *v = u + 2 * half;
        if (first + b == 0) {
            if (kind == EVALUATE) {
                V(add_words_)(v, u, 2 * half);
            } else {
                V(add_words_)(u, v, 2 * half);
            }
        } else {
            V(butterflies_)(u, v, half, factor_of(factors, first + b), kind);
        }
    }
}

/// Layers 1 and 0 of 2^bits elements whose first one has the number `start`.
BEREK_SET BEREK_INLINE void V(last_layers_)(
    uint64_t *data, unsigned bits, size_t start, const struct factors *factors,
    enum butterfly kind) {
    const V(vector_) fold = V(fold_)();
    const struct factor one = factor_of(factors, start >> 2);
    const struct factor zero = factor_of(factors, start >> 1);
    const V(vector_) one_c = V(repeat_)(one.plain), one_s = V(repeat_)(one.raised);
    const V(vector_) zero_c = V(repeat_)(zero.plain), zero_s = V(repeat_)(zero.raised);
    for (size_t b = 0; b < (size_t)1 << (bits - 2); b++) {
        uint64_t *const p = data + 8 * b;
        const V(vector_) c = XOR(one_c, V(repeat_)(factors->plain[b]));
        const V(vector_) s = XOR(one_s, V(repeat_)(factors->raised[b]));
#if BEREK_TWO_LANES
        const V(vector_) d = XOR(zero_c, LOAD(factors->plain[2 * b]));
        const V(vector_) t = XOR(zero_s, LOAD(factors->raised[2 * b]));
        V(vector_) e = LOAD(p), g = LOAD(p + 4);
        if (kind != EVALUATE_TRANSPOSED) BUTTERFLY(e, g, c, s, fold, kind);
        V(vector_) u = _mm256_permute2x128_si256(e, g, 0x20);
        V(vector_) v = _mm256_permute2x128_si256(e, g, 0x31);
        BUTTERFLY(u, v, d, t, fold, kind);
        e = _mm256_permute2x128_si256(u, v, 0x20);
        g = _mm256_permute2x128_si256(u, v, 0x31);
        if (kind == EVALUATE_TRANSPOSED) BUTTERFLY(e, g, c, s, fold, kind);
        STORE(p, e);
        STORE(p + 4, g);
#else
        const V(vector_) d = XOR(zero_c, LOAD(factors->plain[2 * b]));
        const V(vector_) t = XOR(zero_s, LOAD(factors->raised[2 * b]));
        const V(vector_) f = XOR(zero_c, LOAD(factors->plain[2 * b + 1]));
        const V(vector_) h = XOR(zero_s, LOAD(factors->raised[2 * b + 1]));
        V(vector_) e0 = LOAD(p), e1 = LOAD(p + 2), e2 = LOAD(p + 4), e3 = LOAD(p + 6);
        if (kind != EVALUATE_TRANSPOSED) {
            BUTTERFLY(e0, e2, c, s, fold, kind);
            BUTTERFLY(e1, e3, c, s, fold, kind);
        }
        BUTTERFLY(e0, e1, d, t, fold, kind);
        BUTTERFLY(e2, e3, f, h, fold, kind);
        if (kind == EVALUATE_TRANSPOSED) {
            BUTTERFLY(e0, e2, c, s, fold, kind);
            BUTTERFLY(e1, e3, c, s, fold, kind);
        }
        STORE(p, e0);
        STORE(p + 2, e1);
        STORE(p + 4, e2);
        STORE(p + 6, e3);
#endif
    }
}

/// The layers below `top` of a row of 2^bits elements, the first of which has the number `start`:
/// those that reach further than a block of 2^BLOCK_BITS over the whole row, the rest block by
/// block in the first-level cache.
BEREK_SET BEREK_INLINE void V(row_)(
    uint64_t *row, unsigned bits, unsigned top, size_t start, const struct factors *factors,
    enum butterfly kind) {
    const unsigned block_bits = bits < BLOCK_BITS ? bits : BLOCK_BITS;
    const int descending = kind != EVALUATE_TRANSPOSED;
    if (descending) {
        for (unsigned i = top; i-- > block_bits;) {
            V(layer_)(row, bits, i, 1, start >> (i + 1), factors, kind);
        }
    }
    const unsigned inner = top < block_bits ? top : block_bits;
    for (size_t at = 0; at < (size_t)1 << bits; at += (size_t)1 << block_bits) {
        uint64_t *const block = row + 2 * at;
        const size_t number = start + at;
        if (descending) {
            for (unsigned i = inner; i-- > 2;) {
                V(layer_)(block, block_bits, i, 1, number >> (i + 1), factors, kind);
            }
            V(last_layers_)(block, block_bits, number, factors, kind);
        } else {
            V(last_layers_)(block, block_bits, number, factors, kind);
            for (unsigned i = 2; i < inner; i++) {
                V(layer_)(block, block_bits, i, 1, number >> (i + 1), factors, kind);
            }
        }
    }
    if (!descending) {
        for (unsigned i = block_bits; i < top; i++) {
            V(layer_)(row, bits, i, 1, start >> (i + 1), factors, kind);
        }
    }
}

// ---- Passes over memory ----

/// Elements from words: word `at + i` of a string that repeats after 2^period words becomes the
/// low half of element i.
BEREK_SET BEREK_INLINE void V(expand_)(
    uint64_t *elements, const uint64_t *words, size_t at, size_t count, unsigned period) {
    const size_t length = (size_t)1 << period;
    const size_t run = count < length ? count : length;
    for (size_t i = 0; i < count; i += run) {
        const uint64_t *const from = words + ((at + i) & (length - 1));
        for (size_t j = 0; j < run; j++) {
            elements[2 * (i + j)] = from[j];
            elements[2 * (i + j) + 1] = 0;
        }
    }
}

/// Pass 1: elements from words, and the layers that join rows, strip by strip.
BEREK_SET BEREK_INLINE void V(enter_)(
    uint64_t *elements, const uint64_t *words, const struct shape *shape, unsigned period,
    uint64_t *strip, const struct factors *factors, enum butterfly kind) {
    const size_t rows = (size_t)1 << shape->row_count_bits, width = shape->strip_width;
    const unsigned top = period > shape->row_bits ? period - shape->row_bits : 0;
    if (top == 0) {
        V(expand_)(elements, words, 0, (size_t)1 << shape->bits, period);
        return;
    }
    for (size_t column = 0; column < (size_t)1 << shape->row_bits; column += width) {
        for (size_t row = 0; row < rows; row++) {
            V(expand_)(
                strip + 2 * width * row, words, (row << shape->row_bits) + column, width, period);
        }
        for (unsigned i = top; i-- > 0;) {
            V(layer_)(strip, shape->row_count_bits, i, width, 0, factors, kind);
        }
        for (size_t row = 0; row < rows; row++) {
            memcpy(
                elements + 2 * ((row << shape->row_bits) + column), strip + 2 * width * row,
                2 * width * sizeof(uint64_t));
        }
    }
}

/// Pass 3: the layers that join rows, strip by strip, and the sum of what lies 2^period elements
/// apart, into the first 2^period elements.
BEREK_SET BEREK_INLINE void V(leave_)(
    uint64_t *elements, const struct shape *shape, unsigned period, uint64_t *strip,
    const struct factors *factors) {
    const size_t rows = (size_t)1 << shape->row_count_bits, width = shape->strip_width;
    const size_t length = (size_t)2 << period;
    if (period <= shape->row_bits) {
        for (size_t i = length; i < (size_t)2 << shape->bits; i += length) {
            V(add_words_)(elements, elements + i, length);
        }
        return;
    }
    const unsigned top = period - shape->row_bits;
    for (size_t column = 0; column < (size_t)1 << shape->row_bits; column += width) {
        for (size_t row = 0; row < rows; row++) {
            memcpy(
                strip + 2 * width * row, elements + 2 * ((row << shape->row_bits) + column),
                2 * width * sizeof(uint64_t));
        }
        for (unsigned i = 0; i < top; i++) {
            V(layer_)(
                strip, shape->row_count_bits, i, width, 0, factors, EVALUATE_TRANSPOSED);
        }
        for (size_t row = (size_t)1 << top; row < rows; row++) {
            V(add_words_)(
                strip + 2 * width * (row & (((size_t)1 << top) - 1)), strip + 2 * width * row,
                2 * width);
        }
        for (size_t row = 0; row < (size_t)1 << top; row++) {
            memcpy(
                elements + 2 * ((row << shape->row_bits) + column), strip + 2 * width * row,
                2 * width * sizeof(uint64_t));
        }
    }
}

/// Pass 2, for one row: both forward transforms, the products, the transposed transform.
BEREK_SET static void V(middle_)(
    uint64_t *left, uint64_t *right, size_t start, const struct shape *shape,
    const struct factors *factors) {
    const unsigned bits = shape->row_bits;
    const unsigned right_top = shape->right_bits < bits ? shape->right_bits : bits;
    const unsigned window_top = shape->window_bits < bits ? shape->window_bits : bits;
    V(row_)(right, bits, right_top, start, factors, EVALUATE);
    V(row_)(left, bits, bits, start, factors, INTERPOLATE_TRANSPOSED);
    const V(vector_) fold = V(fold_)();
    for (size_t i = 0; i < (size_t)2 << bits; i += 2 * LANES) {
        STORE(left + i, V(multiply_)(LOAD(left + i), LOAD(right + i), fold));
    }
    V(row_)(left, bits, window_top, start, factors, EVALUATE_TRANSPOSED);
}

/// The high word of the sum of left[count - 1 - i] * right[i].
BEREK_SET static uint64_t V(edge_)(const uint64_t *left, const uint64_t *right, size_t count) {
    uint64_t low, high, sum = 0;
    for (size_t i = 0; i < count; i++) {
        BEREK_WORD_PRODUCT(left[count - 1 - i], right[i], &low, &high);
        sum ^= high;
    }
    return sum;
}

BEREK_SET static void V(middle_product_)(
    uint64_t *window, const uint64_t *left, const uint64_t *right, const struct shape *shape,
    uint64_t *work) {
    const size_t length = (size_t)1 << shape->bits;
    const size_t right_words = shape->right_words, window_words = shape->window_words;
    uint64_t *const seed = work, *const key = seed + 2 * length;
    uint64_t *const packed = key + 2 * length;
    struct factors *const factors = (struct factors *)(void *)(packed + length);
    uint64_t *const strip = (uint64_t *)(void *)(factors + 1);
    make_factors(factors);

    const size_t used = right_words + window_words - 1;
    memcpy(packed, left + 1, used * sizeof(uint64_t));
    memset(packed + used, 0, (length - used) * sizeof(uint64_t));
    V(change_basis_)(packed, shape->bits, 1, TO_NOVEL_INVERSE_TRANSPOSED);
    V(enter_)(seed, packed, shape, shape->bits, strip, factors, INTERPOLATE_TRANSPOSED);

    const size_t right_length = (size_t)1 << shape->right_bits;
    for (size_t i = 0; i < right_words; i++) packed[i] = right[right_words - 1 - i];
    memset(packed + right_words, 0, (right_length - right_words) * sizeof(uint64_t));
    V(change_basis_)(packed, shape->right_bits, 1, TO_NOVEL);
    V(enter_)(key, packed, shape, shape->right_bits, strip, factors, EVALUATE);

    for (size_t start = 0; start < length; start += (size_t)1 << shape->row_bits) {
        V(middle_)(seed + 2 * start, key + 2 * start, start, shape, factors);
    }
    V(leave_)(seed, shape, shape->window_bits, strip, factors);
    V(change_basis_)(seed, shape->window_bits, 2, TO_NOVEL_TRANSPOSED);

    window[0] ^= seed[0] ^ V(edge_)(left, right, right_words);
    for (size_t i = 1; i < window_words; i++) window[i] ^= seed[2 * i] ^ seed[2 * i - 1];
}

#undef BUTTERFLY
#undef CLMUL
#undef XOR
#undef STORE
#undef LOAD
#undef LANES
#undef V
#undef JOIN
#undef JOIN_
