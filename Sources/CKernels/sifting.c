// Compaction of bit planes: what remains of a string when only masked places are kept.
#include "sifting.h"

#include "dispatch.h"

#if defined(BEREK_X86)
#include <immintrin.h>
#endif

/// The masked bits of a word, moved to its low end.
///
/// Each kept bit has to move down by the number of zeros of the mask below it. That number is
/// built up binary digit by digit: the parity of the zeros below every place is a carry-less
/// product with all ones, done as a prefix sum; bits whose digit is one move by that power of two,
/// and so does the mask (Steele's method; Warren, Hacker's Delight, 7-4).
BEREK_INLINE uint64_t extract_portable(uint64_t source, uint64_t mask) {
    uint64_t kept = source & mask;
    uint64_t zeros = ~mask << 1;
    for (uint32_t distance = 1; distance < 64; distance <<= 1) {
        uint64_t parity = zeros;
        parity ^= parity << 1;
        parity ^= parity << 2;
        parity ^= parity << 4;
        parity ^= parity << 8;
        parity ^= parity << 16;
        parity ^= parity << 32;
        const uint64_t moving = parity & mask;
        mask = (mask ^ moving) | moving >> distance;
        const uint64_t bits = kept & moving;
        kept = (kept ^ bits) | bits >> distance;
        zeros &= ~parity;
    }
    return kept;
}

/// The loop around a word's extraction. The word under construction is stored every time and kept
/// until it is full, so that no branch depends on the mask.
#define COMPRESS(extract)                                                                         \
    do {                                                                                          \
        uint64_t *cursor = out + (offset >> 6);                                                   \
        size_t filled = offset & 63;                                                              \
        uint64_t pending = filled ? *cursor & (((uint64_t)1 << filled) - 1) : 0;                  \
        size_t total = 0;                                                                         \
        for (size_t i = 0; i < words; i++) {                                                      \
            const uint64_t bits = extract(source[i], mask[i]);                                    \
            const size_t count = (size_t)__builtin_popcountll(mask[i]);                           \
            pending |= bits << filled;                                                            \
            *cursor = pending;                                                                    \
            const size_t reached = filled + count;                                                \
            pending = reached >= 64 ? bits >> 1 >> (63 - filled) : pending;                       \
            cursor += reached >> 6;                                                               \
            filled = reached & 63;                                                                \
            total += count;                                                                       \
        }                                                                                         \
        if (filled != 0) *cursor = pending;                                                       \
        return total;                                                                             \
    } while (0)

static size_t compress_portable(
    uint64_t *out, size_t offset, const uint64_t *source, const uint64_t *mask, size_t words) {
    COMPRESS(extract_portable);
}

#if defined(BEREK_X86)
BEREK_TARGET("bmi2,popcnt")
static size_t compress_bmi2(
    uint64_t *out, size_t offset, const uint64_t *source, const uint64_t *mask, size_t words) {
    COMPRESS(_pext_u64);
}

static int has_bmi2(void) {
    return __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

/// Before Zen 3, AMD's processors run PEXT as microcode, one step per bit of the mask.
static int has_fast_pext(void) {
    return has_bmi2() && !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2");
}
#endif

size_t berek_bits_compress(
    uint64_t *out, size_t offset, const uint64_t *source, const uint64_t *mask, size_t words,
    berek_kernel kernel) {
#if defined(BEREK_X86)
    const int wanted = kernel == BEREK_KERNEL_BEST   ? has_fast_pext()
                       : kernel == BEREK_KERNEL_AVX2 ? has_bmi2()
                                                     : 0;
    if (wanted) return compress_bmi2(out, offset, source, mask, words);
#else
    (void)kernel;
#endif
    return compress_portable(out, offset, source, mask, words);
}
