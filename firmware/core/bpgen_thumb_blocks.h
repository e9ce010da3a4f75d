/* bpgen_thumb_blocks.h -- the loop of a layer forward for Cortex-M0 and M0+, of up to 64 inputs.
 *
 * bpgen_thumb_forward.h alone includes this. Inputs are in a list, and sums in blocks of 9
 * products, of which 10 have to fit 32 bits. It takes the same instructions whatever the numbers,
 * but one or two more for a z that is clipped.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_THUMB_BLOCKS_H
#define BPGEN_THUMB_BLOCKS_H

/* What groups of 4 outputs take from memory, by offset. */
typedef struct {
    int32_t low[4];        /* 0: what a sum begins with, half a unit of z */
    uint32_t wraps;        /* 16: which is so many wraps, see blocks() */
    uint32_t entry;        /* 20: bytes from the loop's entry to where the first block enters */
    uint32_t b_shift;      /* 24: 16 less the fraction bits of the inputs */
    uint32_t shift;        /* 28 */
    uint32_t unshift;      /* 32: 32 - shift */
    int32_t lowest;        /* 36 */
    int32_t top;           /* 40 */
    const uint16_t *table; /* 44: of a sigmoid of 2^7 intervals and 12 bits, or NULL */
    uint32_t more;         /* 48: 1 + 2^12 */
    const int16_t *z_last; /* 52: the last 4 outputs */
    const int16_t *a_in;   /* 56: at a multiple of 4 */
    int32_t first;         /* 60: bytes of weights from the last pair of inputs to the first */
    uint32_t stride;       /* 64: and from a pair to the next */
    const int16_t *w;      /* 68: of the last pair */
    const int16_t *b;      /* 72 */
    int16_t *z;            /* 76 */
} blocks_t;

#define MOST_INPUTS 64
#define BLOCK 9
#define INPUT_BYTES 26 /* of ADD_INPUT() */
/* r0 to r3: an output's weights each, r4: an input, r5: bytes to what meets it, r7: where the next
 * of these two are; sums in r8 to r11. The first product of a block replaces the sum.
 */
#define ADD_INPUT(how) \
    "ldmia r7!, {r4, r5}\n\t" \
    "ldrsh r6, [r0, r5]\n\t" \
    "muls r6, r4\n\t" \
    how " r8, r6\n\t" \
    "ldrsh r6, [r1, r5]\n\t" \
    "muls r6, r4\n\t" \
    how " r9, r6\n\t" \
    "ldrsh r6, [r2, r5]\n\t" \
    "muls r6, r4\n\t" \
    how " r10, r6\n\t" \
    "ldrsh r6, [r3, r5]\n\t" \
    "muls r6, r4\n\t" \
    how " r11, r6\n\t"
/* r1: biases, r2: b_shift. */
#define BEGIN_BLOCK(at, sum) \
    "ldrh r0, [r1, #" at "]\n\t" \
    "lsls r0, r0, #16\n\t" \
    "asrs r0, r2\n\t" \
    "mov " sum ", r0\n\t"
#define TAKE_FROM_WRAPS(low, shift) \
    "lsrs r5, " low ", #" shift "\n\t" \
    "subs r4, r4, r5\n\t"
/* r4: wraps, those of this sum 27 - up bits up. */
#define WRAPS(up) \
    "lsls r5, r4, #" up "\n\t" \
    "asrs r5, r5, #27\n\t"
/* r5: wraps of this sum, r6: 32 - shift, r7: shift. */
#define SHIFT_RIGHT(low) \
    "lsls r5, r6\n\t" \
    "lsrs " low ", r7\n\t" \
    "orrs " low ", r5\n\t"
/* r10: lowest, r11: top. */
#define CLIP_Z(n, z) \
    "cmp " z ", r10\n\t" \
    "bge 1" n "f\n\t" \
    "mov " z ", r10\n" \
    "1" n ":\n\t" \
    "cmp " z ", r11\n\t" \
    "ble 2" n "f\n\t" \
    "mov " z ", r11\n" \
    "2" n ":\n\t"
/* What sigmoids() does to z within +-top; the table ends with 65514, which rounds to less than 1.
 * r7: 1 + 2^12, r8: table, r11: top.
 */
#define SIGMOID_7(n, z) \
    "asrs r4, " z ", #31\n\t" \
    "eors " z ", r4\n\t" \
    "subs " z ", " z ", r4\n\t" \
    "cmp " z ", r11\n\t" \
    "bls 1" n "f\n\t" \
    "mov " z ", r11\n" \
    "1" n ":\n\t" \
    "lsrs r5, " z ", #8\n\t" \
    "lsls r5, r5, #1\n\t" \
    "add r5, r8\n\t" \
    "ldrh r6, [r5]\n\t" \
    "ldrh r5, [r5, #2]\n\t" \
    "subs r5, r5, r6\n\t" \
    "adds r6, #8\n\t" \
    "lsls r6, r6, #8\n\t" \
    "uxtb " z ", " z "\n\t" \
    "muls " z ", r5\n\t" \
    "adds " z ", " z ", r6\n\t" \
    "lsrs " z ", " z ", #12\n\t" \
    "eors " z ", r4\n\t" \
    "ands r4, r7\n\t" \
    "adds " z ", " z ", r4\n\t"

/* All groups of 4 outputs; the last may have outputs of the one before.
 *
 * A list has each input and how far what meets it is from an output's weight for the last pair. It
 * is on the stack, and below it, from sp up: 4 lows and `wraps` while sums are made, 4 pointers to
 * weights, the list's end, which is the caller's stack, and d. r12: biases, lr: z.
 *
 * A sum of blocks is its low + 2^32 * its wraps. Instead of 4 high words, `wraps` adds up what of
 * each block's sums t is (((t0 / 64 + t1) / 64 + t2) / 64 + t3) / 64, rounded down: the 4 sums
 * divided by 2^24, 2^18, 2^12 and 2^6, less 2 a block at most. Without the lows, divided alike, it
 * has the wraps of t0 from bit 8 up, of t1 from bit 14 up, then 20 and 26. They are within +-5. It
 * begins with half of what each of these bits is worth, which rounds: 5 bits are the wraps.
 */
INLINE void blocks(blocks_t *of)
{
    register blocks_t *d __asm__("r7") = of;

    __asm__ volatile(
        ".syntax unified\n\t"
        "mov r8, sp\n\t"
        "ldr r0, [r7, #56]\n\t"
        "ldr r3, [r7, #60]\n\t"
        "ldr r6, [r7, #64]\n"
        "1:\n\t"
        "ldmia r0!, {r4}\n\t"
        "sxth r2, r4\n\t"
        "asrs r4, r4, #16\n\t"
        "adds r5, r3, #2\n\t"
        "push {r2, r3, r4, r5}\n\t"
        "adds r3, r3, r6\n\t"
        "ble 1b\n\t"
        "ldr r0, [r7, #72]\n\t"
        "mov r12, r0\n\t"
        "ldr r0, [r7, #76]\n\t"
        "mov lr, r0\n\t"
        "ldr r0, [r7, #68]\n\t"
        "adds r1, r0, #4\n\t"
        "adds r2, r1, #4\n\t"
        "adds r3, r2, #4\n\t"
        "mov r4, r8\n\t"
        "movs r5, r7\n\t"
        "push {r0, r1, r2, r3, r4, r5}\n"
        "2:\n\t"
        "mov r1, r12\n\t"
        "ldr r2, [r7, #24]\n\t"
        BEGIN_BLOCK("0", "r8")
        BEGIN_BLOCK("2", "r9")
        BEGIN_BLOCK("4", "r10")
        BEGIN_BLOCK("6", "r11")
        "ldmia r7!, {r0, r1, r2, r3, r4, r5}\n\t"
        "push {r0, r1, r2, r3, r4}\n\t"
        "add r7, sp, #20\n\t"
        "ldmia r7!, {r0, r1, r2, r3, r4, r6}\n\t"
        "add pc, r5\n"
        "3:\n\t"
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        ADD_INPUT("add")
        "pop {r0, r1, r2, r3, r4}\n\t"
        "add r0, r8\n\t"
        "add r1, r9\n\t"
        "add r2, r10\n\t"
        "add r3, r11\n\t"
        "mov r5, r8\n\t"
        "asrs r5, r5, #6\n\t"
        "add r5, r9\n\t"
        "asrs r5, r5, #6\n\t"
        "add r5, r10\n\t"
        "asrs r5, r5, #6\n\t"
        "add r5, r11\n\t"
        "asrs r5, r5, #6\n\t"
        "adds r4, r4, r5\n\t"
        "push {r0, r1, r2, r3, r4}\n\t"
        "add r6, sp, #20\n\t"
        "ldmia r6!, {r0, r1, r2, r3, r4}\n\t"
        "cmp r7, r4\n\t"
        "beq 4f\n\t"
        ADD_INPUT("mov")
        "b 3b\n"
        "4:\n\t"
        "pop {r0, r1, r2, r3, r4}\n\t"
        TAKE_FROM_WRAPS("r0", "24")
        TAKE_FROM_WRAPS("r1", "18")
        TAKE_FROM_WRAPS("r2", "12")
        TAKE_FROM_WRAPS("r3", "6")
        "ldr r7, [sp, #20]\n\t"
        "ldr r5, [r7, #40]\n\t"
        "mov r11, r5\n\t"
        "ldr r6, [r7, #32]\n\t"
        "ldr r7, [r7, #28]\n\t"
        WRAPS("19")
        SHIFT_RIGHT("r0")
        WRAPS("13")
        SHIFT_RIGHT("r1")
        WRAPS("7")
        SHIFT_RIGHT("r2")
        "asrs r5, r4, #26\n\t"
        SHIFT_RIGHT("r3")
        "ldr r7, [sp, #20]\n\t"
        "ldr r5, [r7, #44]\n\t"
        "cmp r5, #0\n\t"
        "beq 7f\n\t"
        "mov r8, r5\n\t"
        "ldr r7, [r7, #48]\n\t"
        SIGMOID_7("0", "r0")
        SIGMOID_7("1", "r1")
        SIGMOID_7("2", "r2")
        SIGMOID_7("3", "r3")
        "5:\n\t"
        "mov r6, lr\n\t"
        "strh r0, [r6, #0]\n\t"
        "strh r1, [r6, #2]\n\t"
        "strh r2, [r6, #4]\n\t"
        "strh r3, [r6, #6]\n\t"
        "ldr r7, [sp, #20]\n\t"
        "ldr r5, [r7, #52]\n\t"
        "subs r5, r5, r6\n\t"
        "beq 8f\n\t"
        "cmp r5, #8\n\t"
        "bls 6f\n\t"
        "movs r5, #8\n"
        "6:\n\t"
        "add lr, r5\n\t"
        "add r12, r5\n\t"
        "lsls r5, r5, #1\n\t"
        "pop {r0, r1, r2, r3}\n\t"
        "adds r0, r0, r5\n\t"
        "adds r1, r1, r5\n\t"
        "adds r2, r2, r5\n\t"
        "adds r3, r3, r5\n\t"
        "push {r0, r1, r2, r3}\n\t"
        "b 2b\n"
        "7:\n\t"
        "ldr r5, [r7, #36]\n\t"
        "mov r10, r5\n\t"
        CLIP_Z("0", "r0")
        CLIP_Z("1", "r1")
        CLIP_Z("2", "r2")
        CLIP_Z("3", "r3")
        "b 5b\n"
        "8:\n\t"
        "ldr r6, [sp, #16]\n\t"
        "mov sp, r6"
        :
        : "r"(d)
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
          "memory");
}

/* Whether dense_blocks() can do a layer. 10 products are below 2^31 in magnitude, so that 9, or 8
 * and a bias, which is up to 2^28, leave room for what blocks() adds to them before it divides, and
 * sums are below 2^34.
 */
INLINE int in_blocks(const bp_layer_t *layer)
{
    return layer->block > BLOCK && layer->inputs <= MOST_INPUTS && layer->outputs >= 4 &&
           layer->a_in_frac <= 13 && layer->z_shift >= 3 && layer->z_shift <= 24;
}

/* z, or its sigmoid if there is a table. */
NOINLINE void dense_blocks(int16_t *z, const bp_layer_t *layer, const int16_t *w, const int16_t *b,
                           const int16_t *a_in, const uint16_t *table)
{
    const uint32_t n = layer->outputs;
    const uint32_t inputs = (uint32_t)even_inputs(layer);
    const uint32_t half = (uint32_t)half_of((uint8_t)layer->z_shift);
    const uint32_t whole = inputs * 57 / 512; /* blocks: inputs / 9 */
    blocks_t d;

    d.low[0] = (int32_t)half;
    d.low[1] = (int32_t)half;
    d.low[2] = (int32_t)half;
    d.low[3] = (int32_t)half;
    d.wraps = 0x02082080 + (half >> 6) + (half >> 12);
    d.entry = (whole * BLOCK + BLOCK - 1 - inputs) * INPUT_BYTES - 2;
    d.b_shift = 16u - layer->a_in_frac;
    d.shift = (uint32_t)layer->z_shift;
    d.unshift = 32 - d.shift;
    d.lowest = layer->z_lowest;
    d.top = layer->z_top;
    d.table = table;
    d.more = 1 + 4096;
    d.z_last = z + n - 4;
    d.a_in = a_in;
    d.stride = 4 * n;
    d.first = -(int32_t)((inputs - 2) * 2 * n);
    d.w = w + (inputs - 2) * n;
    d.b = b;
    d.z = z;
    blocks(&d);
}

#endif
