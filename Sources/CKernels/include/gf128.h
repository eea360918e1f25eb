#ifndef BEREK_GF128_H
#define BEREK_GF128_H
#include "kernels.h"

// The field GF(2^128) = GF(2)[x] / (x^128 + x^7 + x^2 + x + 1), bit i of two words being x^i.

/// product[0..1] = left[0..1] * right[0..1]; may overlap.
void berek_gf128_multiply(
    uint64_t *product, const uint64_t *left, const uint64_t *right, berek_kernel kernel);

/// Horner's rule over `blocks` blocks of 16 octets, little-endian:
/// accumulator = (accumulator + block) * point for each block in turn. Time and memory accesses
/// depend on the number of blocks alone; powers of the point are overwritten before return.
void berek_gf128_horner(
    uint64_t *accumulator, const uint64_t *point, const uint8_t *octets, size_t blocks,
    berek_kernel kernel);

#endif
