#ifndef BEREK_CASCADE_H
#define BEREK_CASCADE_H
#include "kernels.h"

// Parities for the reconciliation protocol Cascade. Bits are packed least significant first.

/// `length` consecutive bits from bit `start` on.
typedef struct {
    uint32_t start;
    uint32_t length;
} berek_cascade_segment;

/// result bit i = source bit order[i], for i in 0 ..< count; spare bits of the last word of
/// `result` are zero.
void berek_cascade_gather(
    uint64_t *result, const uint64_t *source, const uint16_t *order, size_t count,
    berek_kernel kernel);

/// parities bit first + i = the parity of the lower half, length / 2 bits, of segments[i], all of
/// which have two bits or more. Bits of `parities` from `first` on are zero before.
void berek_cascade_half_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, const berek_cascade_segment *segments,
    size_t count, berek_kernel kernel);

/// parities bit first + i = the parity of bits i * size ..< min((i + 1) * size, end), for i in
/// 0 ..< count. Bits of `parities` from `first` on are zero before.
void berek_cascade_block_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, size_t end, size_t size, size_t count,
    berek_kernel kernel);

/// folds[turn] ^= the exclusive or of bits[word] & rotate_left(mask(first + word), turn) over all
/// words, for turn in 0 ..< count, at most 64; mask(i) is SplitMix64's finaliser of
/// round + i * 0x9E3779B97F4A7C15.
void berek_cascade_subset_folds(
    uint64_t *folds, size_t count, const uint64_t *bits, size_t words, uint64_t round,
    uint64_t first, berek_kernel kernel);

#endif
