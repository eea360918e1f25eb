#ifndef BEREK_MIDDLE_PRODUCT_H
#define BEREK_MIDDLE_PRODUCT_H
#include "kernels.h"

// The stretch of a product over GF(2)[x] that a Toeplitz hash needs, by additive Fourier transform.

/// window[i] ^= word (right_words + i) of left * right over GF(2)[x], i in 0 ..< window_words.
///
/// `left` has right_words + window_words words, all that can reach the window; words are least
/// significant first. Both counts are at least 1. `work` has
/// berek_middle_product_work(right_words, window_words) words, aligned to 64 octets; it is left
/// holding parts of the operands, for the caller to overwrite. Time and memory accesses depend on
/// the counts alone.
void berek_middle_product(
    uint64_t *window, size_t window_words, const uint64_t *left, const uint64_t *right,
    size_t right_words, uint64_t *work, berek_kernel kernel);

/// The words of work memory berek_middle_product needs: at most 5 * N + N / 1024 + 17600, N being
/// the power of two at or above right_words + window_words - 1.
size_t berek_middle_product_work(size_t right_words, size_t window_words);

/// element[0..1] = the Cantor basis element of GF(2^128) used by the transform, index 0 ..< 32:
/// element 0 is 1, and the square of element i plus itself is element i - 1.
void berek_cantor_element(size_t index, uint64_t *element);

/// words[i] = the 64 bits from bit_offset + 64 * i on of the string in source; bits outside of
/// the string, also before its start, read as 0.
void berek_copy_bits(
    uint64_t *words, size_t count, const uint64_t *source, size_t source_words,
    int64_t bit_offset);

/// Tells the operating system that a large buffer is worth large pages; a hint that may do nothing.
void berek_advise_large(void *memory, size_t octets);

#endif
