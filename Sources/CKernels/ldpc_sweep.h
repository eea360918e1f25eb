// One sweep of the decoder over the vector operations of one instruction set. Included once for
// each, between `#define`s of
//
//   octets, shorts      32 lanes of 8 bits and the same lanes with 16 bits
//   VARIANT(name)       the name of a function in this instruction set
//   TARGET              its function attribute
//   OP(name)            the name of an operation, listed at the top of ldpc.c
//
// The check update is the exact pairwise rule of Gallager (1963): the magnitude a check tells a bit
// is a ⊞ b ⊞ … over the magnitudes of its other bits, with
//     a ⊞ b = min(a, b) − ln(1 + e^−|a−b|) + ln(1 + e^−(a+b)).
// As in A-Min* (Jones, Vallés, Smith, Villasenor, MILCOM 2003) only the least reliable bit hears
// exactly the others; the rest hear the ⊞ of all, which their own magnitude hardly changes.

/// The least magnitude of a set, and the ⊞ of all its others.
typedef struct {
    octets least;
    octets others;
} VARIANT(node);

/// What the checks of 32 lanes tell their bits.
typedef struct {
    octets least;
    octets sign;
    octets to_all[2];   // with the offset; [1] negated
    octets to_least[2];
} VARIANT(verdict);

TARGET BEREK_INLINE octets VARIANT(box)(octets a, octets b) {
    // (d + 225) / 2 is 0x70 + (d + 1) / 2: the low nibble is the index and the top bit says that
    // the difference is past the table.
    const octets spread = OP(splat)(0xE0);
    const octets least = OP(min)(a, b);
    const octets difference = OP(subtract)(OP(max)(a, b), least);
    const octets loss = OP(look)(OP(average)(difference, spread));
    const octets gain = OP(look)(OP(average)(OP(add_saturating)(a, b), spread));
    return OP(subtract_saturating)(OP(add)(least, gain), loss);
}

TARGET BEREK_INLINE VARIANT(node) VARIANT(leaf)(octets a, octets b) {
    a = OP(absolute)(a);
    b = OP(absolute)(b);
    return (VARIANT(node)){OP(min)(a, b), OP(max)(a, b)};
}

TARGET BEREK_INLINE VARIANT(node) VARIANT(join)(VARIANT(node) x, VARIANT(node) y) {
    const octets more = OP(max)(x.least, y.least);
    return (VARIANT(node)){
        OP(min)(x.least, y.least), VARIANT(box)(VARIANT(box)(x.others, y.others), more)};
}

/// Four inputs, two apart.
TARGET BEREK_INLINE VARIANT(node) VARIANT(four)(const octets *input) {
    return VARIANT(join)(
        VARIANT(leaf)(input[0], input[2]), VARIANT(leaf)(input[4], input[6]));
}

/// All `count` inputs of 32 checks; the tree keeps rounding errors from adding up.
TARGET BEREK_INLINE VARIANT(node) VARIANT(combine)(const octets *input, int32_t count) {
    const octets nothing = OP(splat)(255); // neutral, since 255 ⊞ a = a for a below 225
    VARIANT(node) sum = {nothing, nothing};
    int32_t k = 0;
    for (; k + 8 <= count; k += 8) {
        sum = VARIANT(join)(
            sum, VARIANT(join)(
                     VARIANT(four)(input + 2 * k), VARIANT(four)(input + 2 * k + 8)));
    }
    if (k < count) sum = VARIANT(join)(sum, VARIANT(four)(input + 2 * k));
    return sum;
}

TARGET BEREK_INLINE VARIANT(verdict) VARIANT(conclude)(VARIANT(node) sum, octets sign) {
    const octets offset = OP(splat)(BEREK_LDPC_OFFSET), limit = OP(splat)(127);
    const octets all = OP(min)(VARIANT(box)(sum.others, sum.least), limit);
    const octets others = OP(min)(sum.others, limit);
    return (VARIANT(verdict)){
        sum.least,
        sign,
        {OP(add)(offset, all), OP(subtract)(offset, all)},
        {OP(add)(offset, others), OP(subtract)(offset, others)},
    };
}

TARGET BEREK_INLINE octets VARIANT(message)(const VARIANT(verdict) * verdict, octets input) {
    const octets is_least = OP(equal)(OP(absolute)(input), verdict->least);
    const octets sign = OP(xor)(input, verdict->sign);
    return OP(select)(
        OP(select)(verdict->to_all[0], verdict->to_least[0], is_least),
        OP(select)(verdict->to_all[1], verdict->to_least[1], is_least), sign);
}

/// Takes the last messages of 64 checks off the posteriors of one edge.
TARGET BEREK_INLINE void VARIANT(collect)(
    const int16_t *posterior, const octets *message, shorts *rest, octets *input, octets *sign) {
    for (int32_t half = 0; half < 2; half++) {
        rest[half] = OP(subtract_shorts)(
            OP(load_shorts)(posterior + 32 * half), OP(widen)(message[half]));
        input[half] = OP(narrow)(rest[half]);
        sign[half] = OP(xor)(sign[half], input[half]);
    }
}

/// Writes the new messages of 64 checks and adds them to the posteriors of one edge.
TARGET BEREK_INLINE void VARIANT(spread)(
    int16_t *posterior, octets *message, const shorts *rest, const octets *input,
    const VARIANT(verdict) * verdict) {
    for (int32_t half = 0; half < 2; half++) {
        message[half] = VARIANT(message)(verdict + half, input[half]);
        OP(store_shorts)(
            posterior + 32 * half, OP(add_shorts)(rest[half], OP(widen)(message[half])));
    }
}

/// Makes the repeated posteriors equal again after a row that began at `turn` within a tile: the
/// first `turn` were written behind the column, the others at its front.
TARGET BEREK_INLINE void VARIANT(mirror)(int16_t *column, int32_t lift, int32_t turn) {
    for (int32_t half = 0; half < TILE; half += 32) {
        int16_t *front = column + half, *behind = front + lift;
        const shorts merged = OP(merge_shorts)(
            OP(load_shorts)(behind), OP(load_shorts)(front), first_lanes + TILE - turn + half);
        OP(store_shorts)(front, merged);
        OP(store_shorts)(behind, merged);
    }
}

/// All checks of one row. The last step of a tile and the first of the next share a loop: they
/// touch different bits, and neither waits for the other.
TARGET static int64_t VARIANT(row)(
    const berek_ldpc_code *code, int32_t row, const uint64_t *syndrome, int16_t *posterior,
    octets *message) {
    octets input[2 * BEREK_LDPC_MAX_DEGREE];
    shorts rest[2 * BEREK_LDPC_MAX_DEGREE];
    const int32_t lift = code->lift, edges = code->row_start[code->rows];
    const int32_t first = code->row_start[row], degree = code->row_start[row + 1] - first;
    const int32_t *place = code->place + first, *shift = code->shift + first;
    const int32_t padded = (degree + 3) & ~3;
    for (int32_t k = degree; k < padded; k++) {
        input[2 * k] = input[2 * k + 1] = OP(splat)(127);
    }
    octets sign[2] = {OP(expand)((uint32_t)*syndrome), OP(expand)((uint32_t)(*syndrome >> 32))};
    for (int32_t k = 0; k < degree; k++) {
        const int16_t *bits = posterior + place[k];
        VARIANT(collect)(
            bits + shift[k], message + 2 * k, rest + 2 * k, input + 2 * k, sign);
        prefetch_tile(bits + ((shift[k] + TILE) & (lift - 1)));
    }
    int64_t violated = 0;
    for (int32_t tile = 0; tile < lift; tile += TILE) {
        VARIANT(verdict) verdict[2];
        for (int32_t half = 0; half < 2; half++) {
            verdict[half] = VARIANT(conclude)(
                VARIANT(combine)(input + half, padded), sign[half]);
            violated += OP(count_negative)(sign[half]);
        }
        const int32_t next = tile + TILE;
        if (next == lift) {
            for (int32_t k = 0; k < degree; k++) {
                int16_t *bits = posterior + place[k];
                VARIANT(spread)(
                    bits + ((shift[k] + tile) & (lift - 1)), message + 2 * k, rest + 2 * k,
                    input + 2 * k, verdict);
            }
            break;
        }
        // The tile after the next one, which may be the first of the next row if that has as many
        // edges.
        const int32_t ahead = next + TILE == lift && first + 2 * degree <= edges ? degree : 0;
        syndrome++;
        sign[0] = OP(expand)((uint32_t)*syndrome);
        sign[1] = OP(expand)((uint32_t)(*syndrome >> 32));
        for (int32_t k = 0; k < degree; k++) {
            int16_t *bits = posterior + place[k];
            VARIANT(spread)(
                bits + ((shift[k] + tile) & (lift - 1)), message + 2 * k, rest + 2 * k,
                input + 2 * k, verdict);
            VARIANT(collect)(
                bits + ((shift[k] + next) & (lift - 1)), message + 2 * (degree + k),
                rest + 2 * k, input + 2 * k, sign);
            prefetch_tile(
                posterior + place[ahead + k]
                + ((shift[ahead + k] + next + TILE) & (lift - 1)));
        }
        message += 2 * degree;
    }
    for (int32_t k = 0; k < degree; k++) {
        VARIANT(mirror)(posterior + place[k], lift, shift[k] & (TILE - 1));
    }
    return violated;
}

TARGET static int64_t VARIANT(sweep)(
    const berek_ldpc_code *code, const uint64_t *syndrome, int16_t *posterior,
    uint8_t *message) {
    int64_t violated = 0;
    for (int32_t row = 0; row < code->rows; row++) {
        violated += VARIANT(row)(
            code, row, syndrome + (size_t)row * (code->lift / 64), posterior,
            (octets *)(message + (size_t)code->row_start[row] * code->lift));
    }
    return violated;
}

TARGET static void VARIANT(decide)(
    const berek_ldpc_code *code, const int16_t *posterior, uint64_t *bits) {
    for (int32_t column = 0; column < code->columns; column++) {
        for (int32_t lane = 0; lane < code->lift; lane += 64) {
            const int16_t *from = posterior + (size_t)column * (code->lift + TILE) + lane;
            *bits++ = OP(below_offset)(from) | OP(below_offset)(from + 32) << 32;
        }
    }
}
