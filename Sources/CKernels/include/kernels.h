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

// ---- Quasi-cyclic low-density parity-check codes ----

/// The columns per tile of the decoder; circulant sizes are multiples of it.
#define BEREK_LDPC_TILE 64

/// A code as circulant rows of circulant edges. Check i of a row with an edge (column, shift)
/// holds bit (i + shift) mod lift of that column.
typedef struct {
    int32_t rows;
    int32_t lift;
    const int32_t *row_start; // rows + 1 entries
    const int32_t *column;    // one per edge
    const int32_t *shift;     // one per edge, 0 ..< lift
} berek_ldpc_code;

/// syndrome[rows * lift / 64] = H * bits; `bits` holds lift / 64 words per column.
void berek_ldpc_syndrome(const berek_ldpc_code *code, const uint64_t *bits, uint64_t *syndrome);

/// One sweep of layered sum-product decoding over all rows.
///
/// `posterior` holds lift + BEREK_LDPC_TILE log-likelihood ratios per column, the last
/// BEREK_LDPC_TILE of which repeat the first; `message` holds lift values per edge, zero before
/// the first sweep; `sign` holds +1 or -1 per check, -1 where the syndrome bit is 1.
void berek_ldpc_sweep(
    const berek_ldpc_code *code, float *posterior, float *message, const float *sign,
    berek_kernel kernel);

/// bits[columns * lift / 64] = 1 where the posterior is negative.
void berek_ldpc_decide(
    int32_t columns, int32_t lift, const float *posterior, uint64_t *bits, berek_kernel kernel);

#endif
