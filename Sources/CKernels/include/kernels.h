#ifndef BEREK_KERNELS_H
#define BEREK_KERNELS_H
#include <stddef.h>
#include <stdint.h>

// Kernels of the post-processing. Every kernel exists in a portable variant and in variants for
// instruction sets that the processor is asked for at run time; all variants of a kernel return
// the same bits. Buffers never overlap unless a comment says so.

/// The instruction sets a kernel can be compiled for; a variant the processor lacks falls back to
/// the portable one.
typedef enum {
    BEREK_KERNEL_BEST = 0,
    BEREK_KERNEL_PORTABLE = 1,
    BEREK_KERNEL_CARRYLESS = 2, // PCLMULQDQ or PMULL
    BEREK_KERNEL_AVX2 = 3,
    BEREK_KERNEL_AVX512 = 4,
    BEREK_KERNEL_CARRYLESS_256 = 5, // VPCLMULQDQ on 256 bits, with AVX2
} berek_kernel;

/// 1 when the processor has the variant, else 0; the portable and best variants always exist.
int berek_kernel_available(berek_kernel kernel);

/// Overwrites memory with zeros in a way the compiler does not remove.
void berek_zeroize(void *memory, size_t octets);

/// 0 when `count` octets are equal, else not 0; the time does not depend on the content.
uint32_t berek_constant_time_difference(const uint8_t *left, const uint8_t *right, size_t count);

// ---- GF(2)[x], bit i is x^i ----

/// product[0 ..< 2 * words] = left * right over GF(2)[x], least significant word first.
/// `scratch` has berek_polynomial_scratch(words) words.
void berek_polynomial_multiply(
    uint64_t *product, const uint64_t *left, const uint64_t *right, size_t words,
    uint64_t *scratch, berek_kernel kernel);

/// The scratch words berek_polynomial_multiply needs for operands of `words` words.
size_t berek_polynomial_scratch(size_t words);

#endif
