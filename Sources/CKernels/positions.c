// Gaps between increasing positions, coded by range asymmetric numeral systems (Duda,
// arXiv:1311.2540) under the geometric law that count and limit imply.
//
// The cost of a gap under a geometric law grows linearly with the gap, so the cost of all gaps
// depends on their sum alone: whatever the positions are, they cost what independent clicks of the
// same rate have as entropy, h(p) / p each. No table is sent, and no pattern is expensive.
//
// A gap is split into its low bits, which are as good as uniform and are written as they are, and
// a number of units of mean 8 to 16. The law has no memory: "at least so many units" is an escape
// after which the rest follows the same law, so the alphabet is small and exact all the same.
#include "positions.h"

#include "dispatch.h"

#include <string.h>

#define PRECISION BEREK_POSITION_PRECISION
#define SLOTS (1u << PRECISION)
#define LOWER_BOUND (1u << 16) // states are at least this, and below 2^32
#define CHUNK 1024
#define LANES 4
// From this many positions on, four states cost less than 0.4 % of the code.
#define INTERLEAVED_COUNT 4096

void berek_position_model_make(berek_position_model *model, uint32_t count, uint32_t limit) {
    const uint64_t gaps = limit - count; // the largest possible sum of all gaps
    uint32_t shift = 0;
    while (((uint64_t)count << 4 << shift) <= gaps) shift++;
    // The mean number of whole units in a gap, in 2^-16. On average the low bits hold half a unit.
    const uint64_t half_unit = (((uint64_t)1 << shift) - 1) << 15;
    const uint64_t units = (((gaps << 16) / count) - half_unit) >> shift;
    uint32_t literals = (uint32_t)(units >> 14) + 1;
    if (literals > BEREK_POSITION_SYMBOLS - 1) literals = BEREK_POSITION_SYMBOLS - 1;

    // start[k] is k for the ones that every symbol gets, plus its share of what is left.
    const uint64_t shared = SLOTS - (literals + 1);
    uint64_t tail = (uint64_t)1 << 32; // the probability of at least k units, in 2^-32
    for (uint32_t k = 0; k <= literals; k++) {
        model->start[k] = (uint16_t)(k + ((shared * (((uint64_t)1 << 32) - tail)) >> 32));
        tail = tail * units / (units + 65536);
    }
    model->start[literals + 1] = SLOTS;
    model->count = count;
    model->limit = limit;
    model->shift = shift;
    model->literals = literals;
    model->lanes = count < INTERLEAVED_COUNT ? 1 : LANES;
}

size_t berek_positions_symbol_limit(const berek_position_model *model) {
    const uint64_t unit = (uint64_t)model->literals << model->shift;
    return (size_t)(model->count + (model->limit - model->count) / unit);
}

static size_t low_octets(const berek_position_model *model) {
    return (size_t)(((uint64_t)model->count * model->shift + 7) / 8);
}

size_t berek_positions_code_limit(const berek_position_model *model) {
    return 4 * (size_t)model->lanes + 2 * berek_positions_symbol_limit(model) + low_octets(model);
}

BEREK_INLINE uint32_t load16(const uint8_t *octets) {
    return (uint32_t)octets[0] | (uint32_t)octets[1] << 8;
}

BEREK_INLINE void store16(uint8_t *octets, uint32_t value) {
    octets[0] = (uint8_t)value;
    octets[1] = (uint8_t)(value >> 8);
}

BEREK_INLINE uint64_t load64(const uint8_t *octets) {
    uint64_t word;
    memcpy(&word, octets, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

// ---- Encoding ----

typedef struct {
    uint64_t reciprocal; // ceil(2^44 / frequency)
    uint32_t frequency;
    uint32_t start;
} encoder_symbol;

/// One step of the coder; words are written towards lower addresses.
///
/// The quotient is exact: after the word is out, state < frequency * 2^20, so the error of the
/// product is below frequency / 2^24 <= 1 / frequency, and the product itself below 2^64.
BEREK_INLINE uint32_t encode_symbol(uint32_t state, const encoder_symbol *symbol, uint8_t **words) {
    if ((uint64_t)state >= (uint64_t)symbol->frequency << (32 - PRECISION)) {
        *words -= 2;
        store16(*words, state & 0xFFFF);
        state >>= 16;
    }
    const uint32_t quotient = (uint32_t)((state * symbol->reciprocal) >> 44);
    const uint32_t remainder = state - quotient * symbol->frequency;
    return (quotient << PRECISION) + remainder + symbol->start;
}

/// Splits the gaps: symbols in order of the positions, low bits packed. Returns the symbols' number.
static size_t split_gaps(
    const berek_position_model *model, const uint32_t *positions, uint8_t *symbols, uint8_t *low) {
    const uint32_t shift = model->shift, literals = model->literals;
    const uint32_t mask = ((uint32_t)1 << shift) - 1;
    uint8_t *symbol = symbols;
    uint64_t pending = 0;
    uint32_t filled = 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < model->count; i++) {
        const uint32_t gap = positions[i] - next;
        next = positions[i] + 1;
        uint32_t units = gap >> shift;
        while (units >= literals) {
            *symbol++ = (uint8_t)literals;
            units -= literals;
        }
        *symbol++ = (uint8_t)units;
        pending |= (uint64_t)(gap & mask) << filled;
        filled += shift;
        while (filled >= 8) {
            *low++ = (uint8_t)pending;
            pending >>= 8;
            filled -= 8;
        }
    }
    if (filled > 0) *low = (uint8_t)pending;
    return (size_t)(symbol - symbols);
}

size_t berek_positions_encode(
    const berek_position_model *model, const uint32_t *positions, uint8_t *symbols, uint8_t *code) {
    const size_t lanes = model->lanes;
    const size_t low_size = low_octets(model);
    const size_t capacity = berek_positions_code_limit(model);
    uint8_t *const low = code + capacity - low_size;
    size_t t = split_gaps(model, positions, symbols, low);

    encoder_symbol table[BEREK_POSITION_SYMBOLS];
    for (uint32_t k = 0; k <= model->literals; k++) {
        const uint32_t frequency = (uint32_t)(model->start[k + 1] - model->start[k]);
        table[k].frequency = frequency;
        table[k].start = model->start[k];
        table[k].reciprocal = (((uint64_t)1 << 44) + frequency - 1) / frequency;
    }
    // The decoder runs forwards, so the encoder runs backwards, symbol t on state t mod lanes.
    uint8_t *words = low;
    uint32_t state[LANES] = {LOWER_BOUND, LOWER_BOUND, LOWER_BOUND, LOWER_BOUND};
    if (lanes == 1) {
        while (t > 0) state[0] = encode_symbol(state[0], &table[symbols[--t]], &words);
    } else {
        while (t % LANES != 0) {
            t--;
            state[t % LANES] = encode_symbol(state[t % LANES], &table[symbols[t]], &words);
        }
        uint32_t s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3];
        while (t > 0) {
            t -= LANES;
            s3 = encode_symbol(s3, &table[symbols[t + 3]], &words);
            s2 = encode_symbol(s2, &table[symbols[t + 2]], &words);
            s1 = encode_symbol(s1, &table[symbols[t + 1]], &words);
            s0 = encode_symbol(s0, &table[symbols[t]], &words);
        }
        state[0] = s0;
        state[1] = s1;
        state[2] = s2;
        state[3] = s3;
    }
    for (size_t lane = 0; lane < lanes; lane++) {
        store16(code + 4 * lane, state[lane] & 0xFFFF);
        store16(code + 4 * lane + 2, state[lane] >> 16);
    }
    const size_t rest = (size_t)(code + capacity - words);
    memmove(code + 4 * lanes, words, rest);
    return 4 * lanes + rest;
}

// ---- Decoding ----

// An entry of the table: slot - start in bits 0-11, frequency - 1 in bits 12-23, symbol above.
BEREK_INLINE uint32_t advance(uint32_t state, uint32_t entry) {
    return ((entry >> PRECISION & (SLOTS - 1)) + 1) * (state >> PRECISION) + (entry & (SLOTS - 1));
}

/// One step without a branch: whether a word is due is as random as the data.
#define DECODE_SYMBOL(state, symbol)                                                              \
    do {                                                                                          \
        const uint32_t entry = table[(state) & (SLOTS - 1)];                                      \
        const uint32_t reached = advance(state, entry);                                           \
        const uint32_t refilled = reached << 16 | load16(words);                                  \
        const int is_due = reached < LOWER_BOUND;                                                 \
        (symbol) = (uint8_t)(entry >> 24);                                                        \
        (state) = is_due ? refilled : reached;                                                    \
        words += is_due ? 2 : 0;                                                                  \
    } while (0)

static void fill_table(const berek_position_model *model, uint32_t *table) {
    for (uint32_t k = 0; k <= model->literals; k++) {
        const uint32_t first = model->start[k], end = model->start[k + 1];
        const uint32_t entry = k << 24 | (end - first - 1) << PRECISION;
        for (uint32_t slot = first; slot < end; slot++) table[slot] = entry | (slot - first);
    }
}

/// Positions as far as their symbols are decoded.
typedef struct {
    uint64_t next;  // the lowest position that may come
    uint64_t units; // escaped units of the gap being read
    uint32_t count;
} position_cursor;

BEREK_INLINE uint64_t low_bits(
    const uint8_t *low, size_t low_size, uint32_t index, uint32_t shift) {
    const uint64_t bit = (uint64_t)index * shift;
    const size_t octet = (size_t)(bit >> 3);
    if (octet + 8 <= low_size) return load64(low + octet) >> (bit & 7);
    uint64_t word = 0;
    for (size_t i = octet; i < low_size; i++) word |= (uint64_t)low[i] << 8 * (i - octet);
    return word >> (bit & 7);
}

/// Turns symbols into positions; returns 0 at a position outside the limit.
static int place(
    const berek_position_model *model, const uint8_t *symbols, size_t size, const uint8_t *low,
    size_t low_size, uint32_t *positions, position_cursor *cursor) {
    const uint32_t shift = model->shift, escape = model->literals;
    const uint64_t mask = ((uint64_t)1 << shift) - 1, limit = model->limit;
    uint64_t next = cursor->next, units = cursor->units;
    uint32_t count = cursor->count;
    for (size_t i = 0; i < size; i++) {
        if (symbols[i] == escape) {
            units += escape;
            if (units << shift >= limit) return 0;
            continue;
        }
        const uint64_t high = (units + symbols[i]) << shift;
        const uint64_t gap = shift == 0 ? high : high | (low_bits(low, low_size, count, shift) & mask);
        if (gap >= limit - next) return 0;
        positions[count++] = (uint32_t)(next + gap);
        next += gap + 1;
        units = 0;
    }
    cursor->next = next;
    cursor->units = units;
    cursor->count = count;
    return 1;
}

berek_positions_status berek_positions_decode(
    const berek_position_model *model, const uint8_t *code, size_t size, uint32_t *positions,
    size_t *offset) {
    const size_t lanes = model->lanes;
    const size_t low_size = low_octets(model);
    *offset = 0;
    if (size < 4 * lanes + low_size || (size - 4 * lanes - low_size) % 2 != 0) {
        return BEREK_POSITIONS_LENGTH;
    }
    uint32_t state[LANES] = {LOWER_BOUND, LOWER_BOUND, LOWER_BOUND, LOWER_BOUND};
    for (size_t lane = 0; lane < lanes; lane++) {
        state[lane] = load16(code + 4 * lane) | load16(code + 4 * lane + 2) << 16;
        *offset = 4 * lane;
        if (state[lane] < LOWER_BOUND) return BEREK_POSITIONS_STATE;
    }
    const uint8_t *const low = code + size - low_size;
    const uint8_t *words = code + 4 * lanes;
    uint32_t table[SLOTS];
    fill_table(model, table);

    uint8_t symbols[CHUNK];
    position_cursor cursor = {0, 0, 0};
    uint32_t missing = model->count; // literals not yet decoded
    size_t lane = 0;
    while (missing > 0) {
        size_t filled = 0;
        // Four symbols hold at most four positions, so groups never read past the last one.
        uint32_t s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3];
        while (lanes == LANES && lane == 0 && missing >= LANES && filled + LANES <= CHUNK
               && low - words >= 2 * LANES) {
            uint8_t *group = symbols + filled;
            DECODE_SYMBOL(s0, group[0]);
            DECODE_SYMBOL(s1, group[1]);
            DECODE_SYMBOL(s2, group[2]);
            DECODE_SYMBOL(s3, group[3]);
            missing -= (uint32_t)((group[0] != model->literals) + (group[1] != model->literals)
                                  + (group[2] != model->literals) + (group[3] != model->literals));
            filled += LANES;
        }
        state[0] = s0;
        state[1] = s1;
        state[2] = s2;
        state[3] = s3;
        // One by one: a single state, the last few positions, or the last few words.
        while (missing > 0 && filled < CHUNK && (lanes == 1 || lane != 0 || filled == 0)) {
            const uint32_t entry = table[state[lane] & (SLOTS - 1)];
            uint32_t reached = advance(state[lane], entry);
            if (reached < LOWER_BOUND) {
                *offset = (size_t)(words - code);
                if (words == low) return BEREK_POSITIONS_SHORT;
                reached = reached << 16 | load16(words);
                words += 2;
            }
            state[lane] = reached;
            symbols[filled] = (uint8_t)(entry >> 24);
            missing -= symbols[filled] != model->literals;
            filled++;
            lane = lane + 1 == lanes ? 0 : lane + 1;
        }
        if (!place(model, symbols, filled, low, low_size, positions, &cursor)) {
            *offset = (size_t)(words - code);
            return BEREK_POSITIONS_LIMIT;
        }
    }
    *offset = (size_t)(words - code);
    if (words != low) return BEREK_POSITIONS_SURPLUS;
    for (lane = 0; lane < lanes; lane++) {
        if (state[lane] != LOWER_BOUND) return BEREK_POSITIONS_FINAL;
    }
    const uint32_t used = (uint32_t)((uint64_t)model->count * model->shift % 8);
    *offset = size - 1;
    if (used != 0 && code[size - 1] >> used != 0) return BEREK_POSITIONS_SPARE;
    return BEREK_POSITIONS_FINE;
}
