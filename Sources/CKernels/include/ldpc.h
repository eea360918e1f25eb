#ifndef BEREK_LDPC_H
#define BEREK_LDPC_H
#include "kernels.h"

// Quasi-cyclic low-density parity-check codes: syndromes, and layered decoding with messages of 8
// bits and posteriors of 16 bits. All values are log-likelihood ratios ln(P(0)/P(1)) in units of
// 1 / BEREK_LDPC_UNIT. All variants of the decoder return the same bits.

/// The checks of a row that are decoded together; circulant sizes are multiples of it.
#define BEREK_LDPC_TILE 64

/// Steps per nat. Ten keep the rounding of a check's output below what separates the ensembles'
/// thresholds, and let a message of 8 bits say 12.7 nats.
#define BEREK_LDPC_UNIT 10

/// What is added to a posterior, so that a message stored with the same offset is subtracted as
/// the unsigned octet it is.
#define BEREK_LDPC_OFFSET 128

/// The most edges of a check. Not a power of two, so that the arrays of that size which a row works
/// on do not fall into the same sets of a cache.
#define BEREK_LDPC_MAX_DEGREE 500

/// A code as circulant rows of circulant edges. Check i of a row with an edge (column, shift)
/// holds bit (i + shift) mod lift of that column; a row has an edge into a column at most once.
typedef struct {
    int32_t rows;
    int32_t columns;
    int32_t lift;             // a power of two, 64 or more
    const int32_t *row_start; // rows + 1 entries
    const int32_t *column;    // one per edge
    const int32_t *shift;     // one per edge, 0 ..< lift
    const int32_t *place;     // one per edge, column * (lift + BEREK_LDPC_TILE)
} berek_ldpc_code;

/// The posteriors of a code: lift + BEREK_LDPC_TILE per column, of which the last repeat the first.
size_t berek_ldpc_posterior_count(const berek_ldpc_code *code);

/// The octets of a code's messages, whose order is the variant's own affair.
size_t berek_ldpc_message_octets(const berek_ldpc_code *code);

/// syndrome[rows * lift / 64] = H * bits; `bits` holds lift / 64 words per column.
void berek_ldpc_syndrome(const berek_ldpc_code *code, const uint64_t *bits, uint64_t *syndrome);

/// The state before the first sweep: every bit has the ratio `level`, no check has said anything.
void berek_ldpc_start(
    const berek_ldpc_code *code, int32_t level, int16_t *posterior, uint8_t *message);

/// Adds to the posterior of one bit of a column, as when it becomes known.
void berek_ldpc_nudge(
    const berek_ldpc_code *code, int32_t column, int32_t lane, int32_t amount, int16_t *posterior);

/// One sweep over all rows towards bits with the given syndrome. Returns the number of checks that
/// were not met by the signs of what the bits told them.
///
/// Zero does not mean that the decided bits have the syndrome, nor the reverse.
int64_t berek_ldpc_sweep(
    const berek_ldpc_code *code, const uint64_t *syndrome, int16_t *posterior, uint8_t *message,
    berek_kernel kernel);

/// bits[columns * lift / 64] = 1 where the posterior is negative.
void berek_ldpc_decide(
    const berek_ldpc_code *code, const int16_t *posterior, uint64_t *bits, berek_kernel kernel);

#endif
