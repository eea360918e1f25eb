// Layered decoding of quasi-cyclic codes, vectorised over the checks of a row.
//
// The decoder itself is ldpc_sweep.h; this file gives it the operations of each instruction set:
//
//   splat(x)                  x in every lane
//   min, max, xor             unsigned where it matters
//   add, subtract             modulo 256; …_saturating: unsigned
//   average(a, b)             (a + b + 1) / 2
//   look(x)                   correction[x & 15], or 0 where the top bit of x is set; x >= 0x70
//   absolute(x)               of signed octets; 128 for -128
//   equal(a, b)               255 where equal, else 0
//   select(x, y, mask)        y where the top bit of the mask is set, else x
//   count_negative(x)         the number of lanes with the top bit set
//   expand(bits)              255 in the lanes whose bit is set, else 0
//   widen(x), narrow(x)       unsigned octets to shorts; shorts to signed octets, saturating
//   add_shorts, subtract_shorts
//   load_shorts, store_shorts 32 values at any address
//   merge_shorts(x, y, mask)  x where the mask in memory is -1, y where it is 0
//   below_offset(from)        the signs of 32 posteriors in memory, as bits
//
// Which check a lane holds is the variant's choice, as long as all operations agree.
#include "ldpc.h"

#include "dispatch.h"

#include <string.h>

#if defined(BEREK_X86)
#include <immintrin.h>
#elif defined(BEREK_ARM64)
#include <arm_neon.h>
#endif

#define TILE BEREK_LDPC_TILE
#define LINE 64

/// ln(1 + e^(-x / 10)) in tenths for x = 0, 1…2, 3…4, …, 29…30, at the middle of each pair; below
/// one half from there on.
#define CORRECTION 7, 6, 5, 5, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1

/// -1 in the first TILE entries: a window into it marks a number of leading lanes.
static const int16_t first_lanes[2 * TILE] = {[0 ... TILE - 1] = -1};

/// The cache lines of the posteriors of a tile.
BEREK_INLINE void prefetch_tile(const int16_t *posterior) {
    __builtin_prefetch(posterior);
    __builtin_prefetch((const uint8_t *)posterior + LINE);
}

// ---- Portable ----

// Vectors of the compiler's own, which it maps to what every processor of the family has. How they
// are passed does not matter: all functions with such arguments are inlined.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"
typedef uint8_t portable_octets __attribute__((vector_size(32)));
typedef int8_t portable_signed __attribute__((vector_size(32)));
typedef int16_t portable_shorts __attribute__((vector_size(64)));

#define PORTABLE_BINARY(name, expression)                                                         \
    BEREK_INLINE portable_octets portable_##name(portable_octets x, portable_octets y) {          \
        return expression;                                                                        \
    }

PORTABLE_BINARY(min, __builtin_elementwise_min(x, y))
PORTABLE_BINARY(max, __builtin_elementwise_max(x, y))
PORTABLE_BINARY(xor, x ^ y)
PORTABLE_BINARY(add, x + y)
PORTABLE_BINARY(subtract, x - y)
PORTABLE_BINARY(add_saturating, __builtin_elementwise_add_sat(x, y))
PORTABLE_BINARY(subtract_saturating, __builtin_elementwise_sub_sat(x, y))
PORTABLE_BINARY(average, (x | y) - ((x ^ y) >> 1))
PORTABLE_BINARY(equal, (portable_octets)(x == y))

BEREK_INLINE portable_octets portable_splat(uint8_t x) { return x - (portable_octets){}; }

BEREK_INLINE portable_octets portable_expand(uint32_t bits) {
    portable_octets result;
    for (int32_t i = 0; i < 32; i++) result[i] = (uint8_t) - (bits >> i & 1);
    return result;
}

/// The table counts how many of these indices are not yet reached.
BEREK_INLINE portable_octets portable_look(portable_octets x) {
    portable_octets value = {};
#define STEP(index) value -= (portable_octets)(x < 0x70 + index)
    STEP(1), STEP(2), STEP(4), STEP(5), STEP(7), STEP(10), STEP(16);
#undef STEP
    return value;
}

BEREK_INLINE portable_octets portable_select(
    portable_octets x, portable_octets y, portable_octets mask) {
    const portable_octets take = (portable_octets)((portable_signed)mask < 0);
    return (y & take) | (x & ~take);
}

BEREK_INLINE portable_octets portable_absolute(portable_octets x) {
    return portable_select(x, 0 - x, x);
}

BEREK_INLINE int32_t portable_count_negative(portable_octets x) {
    int32_t count = 0;
    for (int32_t i = 0; i < 32; i++) count += x[i] >> 7;
    return count;
}

BEREK_INLINE portable_shorts portable_widen(portable_octets x) {
    return __builtin_convertvector(x, portable_shorts);
}

BEREK_INLINE portable_octets portable_narrow(portable_shorts x) {
    const portable_shorts zero = {};
    x = __builtin_elementwise_min(__builtin_elementwise_max(x, zero - 128), zero + 127);
    return (portable_octets)__builtin_convertvector(x, portable_signed);
}

BEREK_INLINE portable_shorts portable_add_shorts(portable_shorts x, portable_shorts y) {
    return x + y;
}

BEREK_INLINE portable_shorts portable_subtract_shorts(portable_shorts x, portable_shorts y) {
    return x - y;
}

BEREK_INLINE portable_shorts portable_load_shorts(const int16_t *from) {
    portable_shorts x;
    memcpy(&x, from, sizeof x);
    return x;
}

BEREK_INLINE void portable_store_shorts(int16_t *to, portable_shorts x) {
    memcpy(to, &x, sizeof x);
}

BEREK_INLINE portable_shorts portable_merge_shorts(
    portable_shorts x, portable_shorts y, const int16_t *mask) {
    const portable_shorts take = portable_load_shorts(mask);
    return (x & take) | (y & ~take);
}

BEREK_INLINE uint64_t portable_below_offset(const int16_t *from) {
    uint64_t bits = 0;
    for (int32_t i = 0; i < 32; i++) bits |= (uint64_t)(from[i] < BEREK_LDPC_OFFSET) << i;
    return bits;
}

#define octets portable_octets
#define shorts portable_shorts
#define TARGET
#define VARIANT(name) portable_##name
#define OP(name) portable_##name
#include "ldpc_sweep.h"
#pragma clang diagnostic pop

// ---- AVX2 ----

#if defined(BEREK_X86)
#define AVX2_OP BEREK_TARGET(BEREK_AVX2) BEREK_INLINE

// Packing and unpacking work on halves of 128 bits, so lanes 8…15 and 16…23 hold each other's
// checks; `expand` is the only other place that knows.

AVX2_OP __m256i avx2_splat(uint8_t x) { return _mm256_set1_epi8((char)x); }
AVX2_OP __m256i avx2_min(__m256i x, __m256i y) { return _mm256_min_epu8(x, y); }
AVX2_OP __m256i avx2_max(__m256i x, __m256i y) { return _mm256_max_epu8(x, y); }
AVX2_OP __m256i avx2_xor(__m256i x, __m256i y) { return _mm256_xor_si256(x, y); }
AVX2_OP __m256i avx2_add(__m256i x, __m256i y) { return _mm256_add_epi8(x, y); }
AVX2_OP __m256i avx2_subtract(__m256i x, __m256i y) { return _mm256_sub_epi8(x, y); }
AVX2_OP __m256i avx2_add_saturating(__m256i x, __m256i y) { return _mm256_adds_epu8(x, y); }
AVX2_OP __m256i avx2_subtract_saturating(__m256i x, __m256i y) { return _mm256_subs_epu8(x, y); }
AVX2_OP __m256i avx2_average(__m256i x, __m256i y) { return _mm256_avg_epu8(x, y); }
AVX2_OP __m256i avx2_absolute(__m256i x) { return _mm256_abs_epi8(x); }
AVX2_OP __m256i avx2_equal(__m256i x, __m256i y) { return _mm256_cmpeq_epi8(x, y); }
AVX2_OP __m256i avx2_look(__m256i x) {
    return _mm256_shuffle_epi8(_mm256_setr_epi8(CORRECTION, CORRECTION), x);
}

AVX2_OP __m256i avx2_select(__m256i x, __m256i y, __m256i mask) {
    return _mm256_blendv_epi8(x, y, mask);
}

AVX2_OP int32_t avx2_count_negative(__m256i x) {
    return __builtin_popcount((uint32_t)_mm256_movemask_epi8(x));
}

AVX2_OP __m256i avx2_expand(uint32_t bits) {
    const __m256i source = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, //
        1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), source);
    return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
}

// The lanes of `low` are those that the lower halves of both 128-bit parts hold.
typedef struct {
    __m256i low;
    __m256i high;
} avx2_shorts;

AVX2_OP avx2_shorts avx2_widen(__m256i x) {
    const __m256i zero = _mm256_setzero_si256();
    return (avx2_shorts){_mm256_unpacklo_epi8(x, zero), _mm256_unpackhi_epi8(x, zero)};
}

AVX2_OP __m256i avx2_narrow(avx2_shorts x) { return _mm256_packs_epi16(x.low, x.high); }

AVX2_OP avx2_shorts avx2_add_shorts(avx2_shorts x, avx2_shorts y) {
    return (avx2_shorts){_mm256_add_epi16(x.low, y.low), _mm256_add_epi16(x.high, y.high)};
}

AVX2_OP avx2_shorts avx2_subtract_shorts(avx2_shorts x, avx2_shorts y) {
    return (avx2_shorts){_mm256_sub_epi16(x.low, y.low), _mm256_sub_epi16(x.high, y.high)};
}

AVX2_OP avx2_shorts avx2_load_shorts(const int16_t *from) {
    return (avx2_shorts){
        _mm256_loadu_si256((const __m256i *)from),
        _mm256_loadu_si256((const __m256i *)(from + 16))};
}

AVX2_OP void avx2_store_shorts(int16_t *to, avx2_shorts x) {
    _mm256_storeu_si256((__m256i *)to, x.low);
    _mm256_storeu_si256((__m256i *)(to + 16), x.high);
}

AVX2_OP avx2_shorts avx2_merge_shorts(avx2_shorts x, avx2_shorts y, const int16_t *mask) {
    const avx2_shorts take = avx2_load_shorts(mask);
    return (avx2_shorts){
        _mm256_blendv_epi8(y.low, x.low, take.low),
        _mm256_blendv_epi8(y.high, x.high, take.high)};
}

AVX2_OP uint64_t avx2_below_offset(const int16_t *from) {
    const __m256i offset = _mm256_set1_epi16(BEREK_LDPC_OFFSET);
    const avx2_shorts x = avx2_load_shorts(from);
    const __m256i below = _mm256_packs_epi16(
        _mm256_cmpgt_epi16(offset, x.low), _mm256_cmpgt_epi16(offset, x.high));
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(below, 0xD8));
}

#undef octets
#undef shorts
#undef TARGET
#undef VARIANT
#undef OP
#define octets __m256i
#define shorts avx2_shorts
#define TARGET BEREK_TARGET(BEREK_AVX2)
#define VARIANT(name) avx2_##name
#define OP(name) avx2_##name
#include "ldpc_sweep.h"
#endif

// ---- NEON ----

#if defined(BEREK_ARM64)
typedef struct {
    uint8x16_t part[2];
} neon_octets;

typedef struct {
    int16x8_t part[4];
} neon_shorts;

#define NEON_UNARY(name, function)                                                                \
    BEREK_INLINE neon_octets neon_##name(neon_octets x) {                                         \
        return (neon_octets){{function(x.part[0]), function(x.part[1])}};                         \
    }
#define NEON_BINARY(name, function)                                                               \
    BEREK_INLINE neon_octets neon_##name(neon_octets x, neon_octets y) {                          \
        return (neon_octets){                                                                     \
            {function(x.part[0], y.part[0]), function(x.part[1], y.part[1])}};                    \
    }

BEREK_INLINE uint8x16_t neon_look_up(uint8x16_t x) {
    static const uint8_t table[16] = {CORRECTION};
    // The entries lie at 0x70…0x7F, all else is past the table.
    return vqtbl1q_u8(vld1q_u8(table), vsubq_u8(x, vdupq_n_u8(0x70)));
}

BEREK_INLINE uint8x16_t neon_magnitude(uint8x16_t x) {
    return vreinterpretq_u8_s8(vabsq_s8(vreinterpretq_s8_u8(x)));
}

NEON_UNARY(look, neon_look_up)
NEON_UNARY(absolute, neon_magnitude)
NEON_BINARY(min, vminq_u8)
NEON_BINARY(max, vmaxq_u8)
NEON_BINARY(xor, veorq_u8)
NEON_BINARY(add, vaddq_u8)
NEON_BINARY(subtract, vsubq_u8)
NEON_BINARY(add_saturating, vqaddq_u8)
NEON_BINARY(subtract_saturating, vqsubq_u8)
NEON_BINARY(average, vrhaddq_u8)
NEON_BINARY(equal, vceqq_u8)

BEREK_INLINE neon_octets neon_splat(uint8_t x) {
    return (neon_octets){{vdupq_n_u8(x), vdupq_n_u8(x)}};
}

BEREK_INLINE neon_octets neon_select(neon_octets x, neon_octets y, neon_octets mask) {
    neon_octets result;
    for (int32_t i = 0; i < 2; i++) {
        const uint8x16_t take = vcltzq_s8(vreinterpretq_s8_u8(mask.part[i]));
        result.part[i] = vbslq_u8(take, y.part[i], x.part[i]);
    }
    return result;
}

BEREK_INLINE int32_t neon_count_negative(neon_octets x) {
    return vaddvq_u8(vaddq_u8(vshrq_n_u8(x.part[0], 7), vshrq_n_u8(x.part[1], 7)));
}

BEREK_INLINE neon_octets neon_expand(uint32_t bits) {
    static const uint8_t lanes[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bit = vld1q_u8(lanes);
    neon_octets result;
    for (int32_t i = 0; i < 2; i++) {
        const uint8x16_t spread = vcombine_u8(
            vdup_n_u8((uint8_t)(bits >> 16 * i)), vdup_n_u8((uint8_t)(bits >> (16 * i + 8))));
        result.part[i] = vtstq_u8(spread, bit);
    }
    return result;
}

BEREK_INLINE neon_shorts neon_widen(neon_octets x) {
    neon_shorts result;
    for (int32_t i = 0; i < 2; i++) {
        result.part[2 * i] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x.part[i])));
        result.part[2 * i + 1] = vreinterpretq_s16_u16(vmovl_high_u8(x.part[i]));
    }
    return result;
}

BEREK_INLINE neon_octets neon_narrow(neon_shorts x) {
    neon_octets result;
    for (int32_t i = 0; i < 2; i++) {
        result.part[i] = vreinterpretq_u8_s8(
            vqmovn_high_s16(vqmovn_s16(x.part[2 * i]), x.part[2 * i + 1]));
    }
    return result;
}

BEREK_INLINE neon_shorts neon_add_shorts(neon_shorts x, neon_shorts y) {
    for (int32_t i = 0; i < 4; i++) x.part[i] = vaddq_s16(x.part[i], y.part[i]);
    return x;
}

BEREK_INLINE neon_shorts neon_subtract_shorts(neon_shorts x, neon_shorts y) {
    for (int32_t i = 0; i < 4; i++) x.part[i] = vsubq_s16(x.part[i], y.part[i]);
    return x;
}

BEREK_INLINE neon_shorts neon_load_shorts(const int16_t *from) {
    return (neon_shorts){
        {vld1q_s16(from), vld1q_s16(from + 8), vld1q_s16(from + 16), vld1q_s16(from + 24)}};
}

BEREK_INLINE void neon_store_shorts(int16_t *to, neon_shorts x) {
    for (int32_t i = 0; i < 4; i++) vst1q_s16(to + 8 * i, x.part[i]);
}

BEREK_INLINE neon_shorts neon_merge_shorts(neon_shorts x, neon_shorts y, const int16_t *mask) {
    for (int32_t i = 0; i < 4; i++) {
        x.part[i] = vbslq_s16(vreinterpretq_u16_s16(vld1q_s16(mask + 8 * i)), x.part[i], y.part[i]);
    }
    return x;
}

BEREK_INLINE uint64_t neon_below_offset(const int16_t *from) {
    return portable_below_offset(from);
}

#undef octets
#undef shorts
#undef TARGET
#undef VARIANT
#undef OP
#define octets neon_octets
#define shorts neon_shorts
#define TARGET
#define VARIANT(name) neon_##name
#define OP(name) neon_##name
#include "ldpc_sweep.h"
#endif

// ---- Entry points ----

size_t berek_ldpc_posterior_count(const berek_ldpc_code *code) {
    return (size_t)code->columns * (size_t)(code->lift + TILE);
}

size_t berek_ldpc_message_octets(const berek_ldpc_code *code) {
    return (size_t)code->row_start[code->rows] * (size_t)code->lift;
}

void berek_ldpc_start(
    const berek_ldpc_code *code, int32_t level, int16_t *posterior, uint8_t *message) {
    const size_t count = berek_ldpc_posterior_count(code);
    for (size_t i = 0; i < count; i++) posterior[i] = (int16_t)(level + BEREK_LDPC_OFFSET);
    memset(message, BEREK_LDPC_OFFSET, berek_ldpc_message_octets(code));
}

void berek_ldpc_nudge(
    const berek_ldpc_code *code, int32_t column, int32_t lane, int32_t amount,
    int16_t *posterior) {
    int16_t *bits = posterior + (size_t)column * (code->lift + TILE);
    bits[lane] = (int16_t)(bits[lane] + amount);
    if (lane < TILE) bits[lane + code->lift] = bits[lane];
}

int64_t berek_ldpc_sweep(
    const berek_ldpc_code *code, const uint64_t *syndrome, int16_t *posterior, uint8_t *message,
    berek_kernel kernel) {
#if defined(BEREK_X86)
    if (berek_kernel_vector(kernel) != BEREK_KERNEL_PORTABLE) {
        return avx2_sweep(code, syndrome, posterior, message);
    }
#elif defined(BEREK_ARM64)
    // NEON is part of every 64-bit Arm processor that runs this.
    if (kernel != BEREK_KERNEL_PORTABLE) return neon_sweep(code, syndrome, posterior, message);
#else
    (void)kernel;
#endif
    return portable_sweep(code, syndrome, posterior, message);
}

void berek_ldpc_decide(
    const berek_ldpc_code *code, const int16_t *posterior, uint64_t *bits, berek_kernel kernel) {
#if defined(BEREK_X86)
    if (berek_kernel_vector(kernel) != BEREK_KERNEL_PORTABLE) {
        avx2_decide(code, posterior, bits);
        return;
    }
#elif defined(BEREK_ARM64)
    if (kernel != BEREK_KERNEL_PORTABLE) {
        neon_decide(code, posterior, bits);
        return;
    }
#else
    (void)kernel;
#endif
    portable_decide(code, posterior, bits);
}

void berek_ldpc_syndrome(const berek_ldpc_code *code, const uint64_t *bits, uint64_t *syndrome) {
    const int32_t words = code->lift / 64;
    for (int32_t row = 0; row < code->rows; row++) {
        uint64_t *sum = syndrome + (size_t)row * words;
        memset(sum, 0, (size_t)words * sizeof(uint64_t));
        for (int32_t edge = code->row_start[row]; edge < code->row_start[row + 1]; edge++) {
            const uint64_t *column = bits + (size_t)code->column[edge] * words;
            const int32_t turn = code->shift[edge] & 63, begin = code->shift[edge] >> 6;
            // A rotation by less than a word needs no bits of the next one.
            const int32_t rest = turn == 0 ? 0 : 64 - turn;
            const uint64_t mask = turn == 0 ? 0 : ~(uint64_t)0;
            for (int32_t word = 0; word < words; word++) {
                const uint64_t low = column[(begin + word) & (words - 1)];
                const uint64_t high = column[(begin + word + 1) & (words - 1)];
                sum[word] ^= low >> turn | (high & mask) << rest;
            }
        }
    }
}
