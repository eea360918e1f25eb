// The change of basis for one instruction set, a part of middle_product_variant.h, whose macros
// it uses. No include guard.

/// dst[0 ..< count] ^= src[0 ..< count].
BEREK_SET BEREK_INLINE void V(add_words_)(
    uint64_t *restrict dst, const uint64_t *restrict src, size_t count) {
    for (size_t i = 0; i < count; i++) dst[i] ^= src[i];
}

/// One division of a block of 2 * half words by y^h + y^d, in words: the high half becomes the
/// quotient, the low half the remainder; or the transpose of that, or the transpose undone.
BEREK_SET BEREK_INLINE void V(divide_)(
    uint64_t *block, size_t half, size_t shift, enum basis_change change) {
    uint64_t *high = block + half;
    switch (change) {
    case TO_NOVEL:
        V(add_words_)(high, high + half - shift, shift);
        V(add_words_)(block + shift, high, half - shift);
        break;
    case TO_NOVEL_INVERSE_TRANSPOSED:
        V(add_words_)(high + half - shift, high, shift);
        V(add_words_)(high, block + shift, half - shift);
        break;
    case TO_NOVEL_TRANSPOSED:
        V(add_words_)(high, block + shift, half - shift);
        V(add_words_)(high + half - shift, high, shift);
        break;
    }
}

BEREK_SET static void V(change_basis_)(
    uint64_t *words, unsigned bits, size_t unit, enum basis_change change);

/// The divisions by s_K^(2^j), K = `low`, of a string of 2^bits coefficients: depth first, so that
/// blocks that fit a cache stay in it.
BEREK_SET static void V(divisions_)(
    uint64_t *words, unsigned bits, unsigned low, size_t unit, enum basis_change change) {
    if (bits == low) return;
    const size_t half = unit << (bits - 1);
    const size_t shift = unit << (bits - 1 - low);
    if (change != TO_NOVEL_TRANSPOSED) V(divide_)(words, half, shift, change);
    V(divisions_)(words, bits - 1, low, unit, change);
    V(divisions_)(words + half, bits - 1, low, unit, change);
    if (change == TO_NOVEL_TRANSPOSED) V(divide_)(words, half, shift, change);
}

/// Sixteen coefficients of `unit` words, 1 or 2, all in registers.
BEREK_SET BEREK_INLINE void V(change_sixteen_)(
    uint64_t *words, size_t unit, enum basis_change change) {
    uint64_t a[32];
    memcpy(a, words, 16 * unit * sizeof(uint64_t));
#define EACH(count, stride, body)                                                                 \
    _Pragma("clang loop unroll(full)") for (size_t q = 0; q < (count); q++) {                     \
        uint64_t *const b = a + q * (stride) * unit;                                              \
        body;                                                                                     \
    }
#define DIVISIONS_OUTER                                                                           \
    EACH(1, 16, V(divide_)(b, 8 * unit, 2 * unit, change))
#define DIVISIONS_INNER                                                                           \
    EACH(2, 8, V(divide_)(b, 4 * unit, unit, change))
#define FOURS                                                                                     \
    EACH(1, 16, V(divide_)(b, 8 * unit, 4 * unit, change))                                        \
    EACH(4, 4, V(divide_)(b, 2 * unit, unit, change))
    if (change == TO_NOVEL_TRANSPOSED) {
        FOURS
        DIVISIONS_INNER
        DIVISIONS_OUTER
    } else {
        DIVISIONS_OUTER
        DIVISIONS_INNER
        FOURS
    }
#undef FOURS
#undef DIVISIONS_INNER
#undef DIVISIONS_OUTER
#undef EACH
    memcpy(words, a, 16 * unit * sizeof(uint64_t));
}

/// From powers of y to the basis of the transform, or as `change` says, for 2^bits coefficients of
/// `unit` words each. A string cut at s_K, K the largest power of two below `bits`, is a polynomial
/// in s_K whose coefficients are strings of 2^K: both are changed in turn.
BEREK_SET static void V(change_basis_)(
    uint64_t *words, unsigned bits, size_t unit, enum basis_change change) {
    if (bits < 2) return;
    if (bits == 4 && unit <= 2) {
        if (unit == 1) {
            V(change_sixteen_)(words, 1, change);
        } else {
            V(change_sixteen_)(words, 2, change);
        }
        return;
    }
    const unsigned low = bits > 16 ? 16 : bits > 8 ? 8 : bits > 4 ? 4 : bits > 2 ? 2 : 1;
    const size_t stride = unit << low;
    if (change != TO_NOVEL_TRANSPOSED) V(divisions_)(words, bits, low, unit, change);
    V(change_basis_)(words, bits - low, stride, change);
    for (size_t i = 0; i < (size_t)1 << (bits - low); i++) {
        V(change_basis_)(words + i * stride, low, unit, change);
    }
    if (change == TO_NOVEL_TRANSPOSED) V(divisions_)(words, bits, low, unit, change);
}
