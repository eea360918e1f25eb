#ifndef BEREK_SIFTING_H
#define BEREK_SIFTING_H
#include "kernels.h"

/// Appends to `out`, from bit `offset` on, the bits of `source` at the ones of `mask`, in order,
/// and returns their number: the mask's ones.
///
/// Bit i of a string is bit i mod 64 of word i / 64. The string grows by the returned number of
/// bits; bits of `out` past its new end are zero or not touched. `out` has room for the string
/// and one word more.
/// The variant BEREK_KERNEL_AVX2 uses PEXT of BMI2, which every processor with AVX2 has; the best
/// variant avoids it where it is microcode. Time does not depend on the bits of `source`.
size_t berek_bits_compress(
    uint64_t *out, size_t offset, const uint64_t *source, const uint64_t *mask, size_t words,
    berek_kernel kernel);

#endif
