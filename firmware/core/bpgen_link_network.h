/* bpgen_link_network.h -- requests that run the network, and what they read and set of it.
 *
 * bpgen_link.c alone includes this.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LINK_NETWORK_H
#define BPGEN_LINK_NETWORK_H

/* Whether each of n values from p on can be an input. */
static uint8_t are_inputs(const uint8_t *p, uint8_t n)
{
    for (; n != 0; n--, p += 2) {
        /* from the lowest up, modulo 2^16 */
        if ((uint16_t)(get16(p) - (uint16_t)BP_NETWORK_A0_LOWEST) > INPUT_SPAN) {
            return 0;
        }
    }
    return 1;
}

/* Take n values at p, at least 1, as the inputs from `first` on. */
static void set_inputs(uint16_t first, const uint8_t *p, uint8_t n)
{
    if (sizeof(bp_network.a0[0]) == 2) {
        (void)copy((uint8_t *)(bp_network.a0 + first), p, (uint8_t)(2u * n));
        return;
    }
    for (; n != 0; n--, p += 2) {
        bp_network_set_input(first++, (int16_t)get16(p));
    }
}

/* Whether the CRC at p is that of the input as it would stand in a request. */
static inline uint8_t is_staged(const uint8_t *p)
{
    uint32_t crc = 0xFFFFFFFFu;
    uint16_t i;

    for (i = 0; i < BP_NETWORK_N_IN; i++) {
        uint16_t value = (uint16_t)bp_network_input(i);

        crc = bp_crc32_byte(crc, (uint8_t)(value & 255u));
        crc = bp_crc32_byte(crc, (uint8_t)(value >> 8));
    }
    return bp_crc32(crc, p, 4) == 0xDEBB20E3u;
}

/* Whether each of the n samples at p can be one; `target` is the size of their targets. */
static uint8_t are_samples(const uint8_t *p, uint8_t n, uint8_t flags, uint8_t target)
{
    do {
        if ((flags & CLASS) != 0 && get16(p) >= BP_NETWORK_N_OUT) {
            return 0;
        }
        p += target;
        if ((flags & STAGED) == 0 && !are_inputs(p, INPUT_BYTES / 2u)) {
            return 0;
        }
        p += INPUT_BYTES; /* a staged sample is the only one */
    } while (--n != 0);
    return 1;
}

#if BP_NETWORK_LEARNS
/* Learn from the sample that forward has just seen, or for BACKWARD only fill its deltas. */
static void learn(link_t *s, const uint8_t *target, uint8_t flags)
{
    static int16_t t[BP_NETWORK_N_OUT];
    uint8_t j;

    if ((flags & CLASS) == 0) {
        (void)copy((uint8_t *)t, target, OUTPUT_BYTES);
    } else {
        for (j = 0; j < BP_NETWORK_N_OUT; j++) {
            t[j] = j == target[0] ? BP_NETWORK_ONE : 0;
        }
    }
    s->loss.whole = bp_network_loss(t);
    if (s->loss.part.high >= 0) {
        s->value += s->loss.part.low;
        if (s->value < s->loss.part.low || s->loss.part.high != 0) {
            s->value = 0xFFFFFFFFu;
        }
    }
    bp_network_backward(t);
    if (TYPE != BP_BACKWARD) {
        bp_network_step();
    }
}
#endif

/* Do the request with its n samples at p. Returns whether it names the sample that is staged. */
static uint8_t run(link_t *s, const uint8_t *p, uint8_t n, uint8_t flags, uint8_t target)
{
    if ((flags & STAGED) != 0 && !is_staged(p + target)) {
        return 0;
    }
    s->value = 0;
    do {
        if ((flags & STAGED) == 0) {
            set_inputs(0, p + target, INPUT_BYTES / 2u);
        }
        bp_network_forward();
#if BP_NETWORK_LEARNS
        if ((s->request.does & WITH_GEN) != 0) {
            learn(s, p, flags);
        }
#endif
        p += target + INPUT_BYTES;
    } while (--n != 0);
#if BP_NETWORK_APPLIES
    if ((flags & APPLY) != 0) {
        bp_network_apply();
    }
#endif
    return 1;
}

#if BP_NETWORK_LEARNS
/* Element `index` of the gradient that backward left behind. */
static int32_t gradient(uint16_t index)
{
    const bp_network_block_t *block = bp_network_blocks;
    const int16_t *dz;
    uint16_t one;
    uint16_t n;

    while (index >= (n = bp_rom_u16(&block->count))) {
        index = (uint16_t)(index - n);
        block++;
    }
    n = bp_rom_u16(&block->inputs);
    dz = bp_network_dz(block);
    while (index >= n) {
        index = (uint16_t)(index - n);
        dz++;
    }
    one = bp_rom_u16(&block->one);
    return one != 0 ? *dz * (int32_t)one : *dz * (int32_t)bp_network_a_in(block)[index];
}

static uint8_t set_parameter(const uint8_t *p)
{
    uint16_t value = get16(p + 1);

    if (p[0] == BP_PARAMETER_LEARNING_RATE) {
        return bp_network_set_learning_rate(value, (int8_t)p[3]) == 0 ? BP_OK : BP_E_RANGE;
    }
    if (p[3] != 0) {
        return BP_E_RANGE;
    }
    switch (p[0]) {
#ifdef BP_NETWORK_DECAY
    case BP_PARAMETER_DECAY:
        if (value > 32767u) {
            return BP_E_RANGE;
        }
        BP_NETWORK_DECAY = value;
        return BP_OK;
#endif
#ifdef BP_NETWORK_MOMENTUM
    case BP_PARAMETER_MOMENTUM:
        BP_NETWORK_MOMENTUM = value;
        return BP_OK;
#endif
#ifdef BP_NETWORK_SEED
    case BP_PARAMETER_SEED:
        BP_NETWORK_SEED = value;
        return BP_OK;
#endif
    default:
        return BP_E_RANGE;
    }
}
#endif

#endif
