#ifndef BEREK_POSITIONS_H
#define BEREK_POSITIONS_H
#include <stddef.h>
#include <stdint.h>

// The entropy code of increasing positions; docs/protocol.md, "Positions", is its specification.
// All arithmetic is on integers, so every machine makes the same code.

/// The largest alphabet: literals, then the escape.
#define BEREK_POSITION_SYMBOLS 64
/// Frequencies add up to 2^BEREK_POSITION_PRECISION.
#define BEREK_POSITION_PRECISION 12

/// What the code of `count` positions below `limit` looks like.
typedef struct {
    uint32_t count;    // 1 ... limit
    uint32_t limit;    // 1 ... 2^32 - 1
    uint32_t shift;    // bits of a gap that are written as they are, 0 ... 28
    uint32_t literals; // 1 ... 63; the symbol with this number is the escape
    uint32_t lanes;    // interleaved coder states, 1 or 4
    uint16_t start[BEREK_POSITION_SYMBOLS + 1]; // cumulated frequencies; literals + 2 entries
} berek_position_model;

/// What is wrong with a code.
typedef enum {
    BEREK_POSITIONS_FINE = 0,
    BEREK_POSITIONS_LENGTH = 1,   // too short for its states and low bits, or half a word
    BEREK_POSITIONS_STATE = 2,    // a state below 2^16
    BEREK_POSITIONS_SHORT = 3,    // the words end before the positions
    BEREK_POSITIONS_LIMIT = 4,    // a position at or above the limit
    BEREK_POSITIONS_SURPLUS = 5,  // words left over
    BEREK_POSITIONS_FINAL = 6,    // a state that does not end where encoders begin
    BEREK_POSITIONS_SPARE = 7,    // spare bits that are not zero
} berek_positions_status;

/// The model of `count` positions below `limit`; 1 <= count <= limit.
void berek_position_model_make(berek_position_model *model, uint32_t count, uint32_t limit);

/// The most symbols that positions of the model can have.
size_t berek_positions_symbol_limit(const berek_position_model *model);

/// The octets that hold any code of the model.
size_t berek_positions_code_limit(const berek_position_model *model);

/// Writes the code of `model->count` strictly increasing positions below the limit and returns its
/// length. `code` has berek_positions_code_limit octets, `symbols` berek_positions_symbol_limit.
size_t berek_positions_encode(
    const berek_position_model *model, const uint32_t *positions, uint8_t *symbols, uint8_t *code);

/// Reads `model->count` positions from `size` octets, whatever they hold. On a refusal `offset` is
/// the octet at which it was found; positions written before it mean nothing.
berek_positions_status berek_positions_decode(
    const berek_position_model *model, const uint8_t *code, size_t size, uint32_t *positions,
    size_t *offset);

#endif
