/* bpgen_link.c -- the board's side of the wire: docs/protocol.md.
 *
 * One buffer holds the request and then its reply. The reply to a repeat is not stored but told
 * again from what the request left behind: gen, loss, tag and the network's outputs. Numbers are
 * copied between wire and memory as they are, both being little-endian: bpgen_device.c asserts it.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_link.h"
#include "bpgen_store.h"

#define MAX_PAYLOAD (BP_LINK_FRAME - BP_OVERHEAD)

/* Bytes of a whole input; any number above MAX_PAYLOAD for one that no request holds. */
#define INPUT_BYTES (BP_NETWORK_N_IN > 127 ? 255u : 2u * BP_NETWORK_N_IN)
#define OUTPUT_BYTES (2u * BP_NETWORK_N_OUT)
#define INPUT_SPAN ((uint16_t)((uint16_t)BP_NETWORK_A0_TOP - (uint16_t)BP_NETWORK_A0_LOWEST))

/* What a request may do. */
#define WITH_GEN 1u      /* its payload begins with gen */
#define CHANGES 2u       /* it raises gen */
#define ENDS_GRADIENT 4u /* it overwrites what GRADS reads */
#define WHILE_SETTING 8u /* it is served between SETW_BEGIN and SETW_COMMIT */
#define PART 16u         /* its fixed bytes end with {first u16, count u8} */
#define RUNS 32u         /* it runs the network; its length depends on flags */

#if BP_NETWORK_LEARNS
#define LEARNING(fixed) (fixed)
#else
#define LEARNING(fixed) 0u
#endif
#if BP_STORE_BYTES
#define STORING(fixed) (fixed)
#else
#define STORING(fixed) 0u
#endif
#if BP_NETWORK_MEANS
#define BACKWARD_CHANGES CHANGES
#else
#define BACKWARD_CHANGES 0u
#endif

/* By type: the fixed bytes of the payload (0: the firmware has no such request), the bytes of each
 * thing whose count is the last of them, and what it may do.
 */
static const uint8_t requests[BP_ECHO][3] BP_ROM = {
    {2u, 0u, WHILE_SETTING},                                                   /* HELLO */
    {2u, 0u, WHILE_SETTING},                                                   /* DESCRIBE */
    {3u, 2u, ENDS_GRADIENT | PART},                                            /* SETX */
    {1u, 0u, ENDS_GRADIENT | RUNS},                                            /* INFER */
    {LEARNING(5u), 0u, WITH_GEN | BACKWARD_CHANGES | ENDS_GRADIENT | RUNS},    /* BACKWARD */
    {LEARNING(5u), 0u, WITH_GEN | CHANGES | ENDS_GRADIENT | RUNS},             /* TRAIN */
    {LEARNING(6u), 0u, WITH_GEN | CHANGES | ENDS_GRADIENT | RUNS},             /* TRAIN_N */
    {LEARNING(4u), 0u, PART},                                                  /* GRADS */
    {LEARNING(3u), 0u, PART},                                                  /* GETW */
    {LEARNING(4u), 0u, WITH_GEN | CHANGES | ENDS_GRADIENT | WHILE_SETTING},    /* SETW_BEGIN */
    {LEARNING(7u), BP_NETWORK_MASTER_BYTES, WITH_GEN | WHILE_SETTING | PART},  /* SETW */
    {LEARNING(8u), 0u, WITH_GEN | CHANGES | WHILE_SETTING},                    /* SETW_COMMIT */
    {STORING(4u), 0u, WITH_GEN},                                               /* SAVE */
    {STORING(4u), 0u, WITH_GEN | CHANGES | ENDS_GRADIENT},                     /* LOAD */
    {LEARNING(6u), 0u, WITH_GEN | CHANGES | ENDS_GRADIENT | WHILE_SETTING},    /* RESET_MODEL */
    {LEARNING(9u), 0u, WITH_GEN | CHANGES},                                    /* SET_PARAM */
    {1u, 0u, WHILE_SETTING},                                                   /* STATS */
    {1u, 1u, WHILE_SETTING},                                                   /* ECHO */
};

#define CAPABILITIES                                                \
    ((BP_NETWORK_LEARNS ? BP_CAPABILITY_LEARNS : 0u) |              \
     (BP_NETWORK_MASTER_BYTES == 3 ? BP_CAPABILITY_LOW_BYTE : 0u) | \
     (BP_NETWORK_APPLIES ? BP_CAPABILITY_BATCHES : 0u) |            \
     (BP_NETWORK_MEANS ? BP_CAPABILITY_MEANS : 0u) |                \
     (BP_STORE_BYTES ? BP_CAPABILITY_STORE : 0u) |                  \
     (BPGEN_COUNTERS ? BP_CAPABILITY_COUNTERS : 0u))

/* The model's hash, for BOOT and HELLO, and the end of HELLO's reply. */
#define HASH_BYTES 4u
static const uint16_t announced[8] BP_ROM = {
    BP_NETWORK_HASH & 65535u,
    BP_NETWORK_HASH >> 16,
    BP_LINK_WINDOW,
    MAX_PAYLOAD,
    MAX_PAYLOAD,
    BP_NETWORK_N_IN,
    BP_NETWORK_N_OUT,
    BP_NETWORK_N_PARAMETERS,
};

/* What state.mode says; most of the time it is 0. */
#define SETTING 1u     /* between SETW_BEGIN and SETW_COMMIT */
#define SAVING 2u      /* the store writes */
#define SAVE_FAILED 3u /* the store could not, which the next SAVE tells */

#if BP_LINK_FRAME < 254
typedef uint8_t place_t;
#else
typedef uint16_t place_t;
#endif

static struct {
    /* The next ten are page 0 of STATS as it stands on the wire. */
    uint32_t gen;
    uint32_t value; /* the loss of the last request that had one; STATS and HELLO: the checksum */
    uint32_t uptime;
    uint32_t longest;
    uint16_t bad_crc;
    uint16_t bad_frame;
    uint16_t lost;
    uint16_t repeats;
    uint16_t refused;
    uint16_t saves;

    uint32_t clock;    /* bp_port_clock() at the last whole millisecond */
    uint16_t session;
    place_t received;  /* bytes of `frame` decoded so far; one more than it holds: too long */
    uint8_t left;      /* bytes until the next COBS code */
    uint8_t greeted;   /* a session has begun */
    uint8_t mode;
    uint8_t seq;       /* of the last request, if it raised gen, and its type, or 0 */
    uint8_t type;
    uint8_t tag;       /* of the last gradient, and whether GRADS may read it */
    uint8_t gradient;
    uint8_t frame[1 + BP_LINK_FRAME]; /* behind the zero that the first COBS code stands for */
} state;
#define STATS_BYTES 28u

#define FRAME (state.frame + 1)
#define PAYLOAD (state.frame + 5)

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)p[1] << 8);
}

static uint8_t *put32(uint8_t *to, uint32_t value)
{
    uint8_t n;

    for (n = 4; n != 0; n--) {
        *to++ = (uint8_t)(value & 255u);
        value >>= 8;
    }
    return to;
}

static uint8_t is32(const uint8_t *p, uint32_t value)
{
    uint8_t n;

    for (n = 4; n != 0; n--) {
        if (*p++ != (uint8_t)(value & 255u)) {
            return 0;
        }
        value >>= 8;
    }
    return 1;
}

static uint8_t *copy(uint8_t *to, const void *from, uint8_t n)
{
    const uint8_t *p = (const uint8_t *)from;

    for (; n != 0; n--) {
        *to++ = *p++;
    }
    return to;
}

static uint8_t *copy_rom(uint8_t *to, const void *from, uint8_t n)
{
    const uint8_t *p = (const uint8_t *)from;

    for (; n != 0; n--) {
        *to++ = bp_rom_u8(p++);
    }
    return to;
}

static uint8_t same(const uint8_t *p, const void *other, uint8_t n)
{
    const uint8_t *q = (const uint8_t *)other;

    for (; n != 0; n--) {
        if (*p++ != *q++) {
            return 0;
        }
    }
    return 1;
}

static void add(uint32_t *to, uint16_t n)
{
    *to += n;
}

static void count(uint16_t *counter)
{
    uint16_t value = (uint16_t)(*counter + 1u);

    if (value != 0) {
        *counter = value;
    }
}

static uint32_t crc_of(const uint8_t *p, const uint8_t *end)
{
    return ~bp_crc32(0xFFFFFFFFu, p, (size_t)(end - p));
}

/* ---- Frames --------------------------------------------------------------------------------- */

/* Take in one byte of the line. Returns the size of the frame that it completes, or 0. */
static uint8_t receive(uint8_t byte)
{
    place_t received = state.received;
    uint8_t left = state.left;

    if (byte != 0) {
        if (left == 0) {
            left = byte;
            byte = 0;
        }
        state.left = (uint8_t)(left - 1u);
        if (received < sizeof(state.frame)) {
            state.frame[received] = byte;
        }
        if (received <= sizeof(state.frame)) {
            state.received = (place_t)(received + 1u);
        }
        return 0;
    }
    state.received = 0;
    state.left = 0;
    if (received == 0) {
        return 0;
    }
    if (left != 0 || received < 1u + BP_OVERHEAD || received > sizeof(state.frame)) {
        count(&state.bad_frame);
        return 0;
    }
    if (!is32(state.frame + received - 4, crc_of(FRAME, state.frame + received - 4))) {
        count(&state.bad_crc);
        return 0;
    }
    return (uint8_t)(received - 1u);
}

/* Send the frame whose payload ends at `end`. */
static void send(uint8_t *end)
{
    const uint8_t *p = FRAME;

    end = put32(end, crc_of(p, end));
    bp_port_write(0);
    for (;;) {
        const uint8_t *zero = p;

        while (zero != end && *zero != 0) {
            zero++;
        }
        bp_port_write((uint8_t)(zero - p + 1));
        while (p != zero) {
            bp_port_write(*p++);
        }
        if (p == end) {
            break;
        }
        p++;
    }
    bp_port_write(0);
}

/* ---- Running the network -------------------------------------------------------------------- */

/* Whether each of n values from p on can be an input. */
static uint8_t are_inputs(const uint8_t *p, uint16_t n)
{
    for (; n != 0; n--, p += 2) {
        /* from the lowest up, modulo 2^16 */
        if ((uint16_t)(get16(p) - (uint16_t)BP_NETWORK_A0_LOWEST) > INPUT_SPAN) {
            return 0;
        }
    }
    return 1;
}

static void set_inputs(uint16_t first, const uint8_t *p, uint16_t n)
{
    for (; n != 0; n--, p += 2) {
        bp_network_set_input(first++, (int16_t)get16(p));
    }
}

/* The CRC of the input as it would stand in a request. */
static uint32_t input_crc(void)
{
    uint32_t crc = 0xFFFFFFFFu;
    uint16_t i;

    for (i = 0; i < BP_NETWORK_N_IN; i++) {
        uint8_t bytes[2];
        uint16_t value = (uint16_t)bp_network_input(i);

        bytes[0] = (uint8_t)(value & 255u);
        bytes[1] = (uint8_t)(value >> 8);
        crc = bp_crc32(crc, bytes, 2);
    }
    return ~crc;
}

#if BP_NETWORK_LEARNS
/* Learn from the sample that forward has just seen, or for BACKWARD only fill its deltas. */
static void learn(uint8_t type, uint8_t flags, const uint8_t *target)
{
    int16_t t[BP_NETWORK_N_OUT];
    union {
        int64_t whole;
        uint32_t half[2];
    } loss;
    uint8_t j;

    if ((flags & BP_FLAG_CLASS) != 0) {
        for (j = 0; j < BP_NETWORK_N_OUT; j++) {
            t[j] = j == target[0] ? BP_NETWORK_ONE : 0;
        }
    } else {
        (void)copy((uint8_t *)t, target, OUTPUT_BYTES);
    }
    loss.whole = bp_network_loss(t);
    if (loss.half[1] != 0) {
        loss.half[0] = (loss.half[1] >> 31) - 1u;
    }
    state.value += loss.half[0];
    if (state.value < loss.half[0]) {
        state.value = 0xFFFFFFFFu;
    }
    bp_network_backward(t);
    if (type != BP_BACKWARD) {
        bp_network_step();
    }
}
#endif

/* Check a request that runs the network, or, if `go`, do it. */
static uint8_t run(uint8_t type, uint8_t size, uint8_t go)
{
    const uint8_t *p = PAYLOAD;
    uint8_t known = BP_FLAG_STAGED;
    uint8_t target_bytes = 0;
    uint8_t samples = 1;
    uint8_t flags;
    uint8_t input_bytes;

    if (type != BP_INFER) {
        p += 4;
        known |= BP_FLAG_CLASS;
        target_bytes = *p & BP_FLAG_CLASS ? 2u : OUTPUT_BYTES;
    }
    flags = *p++;
    if (type == BP_TRAIN_N) {
        known = BP_FLAG_CLASS;
        samples = *p++;
    }
#if BP_NETWORK_APPLIES
    if (type >= BP_TRAIN) {
        known |= BP_FLAG_APPLY;
    }
#endif
    input_bytes = flags & BP_FLAG_STAGED ? 4u : INPUT_BYTES;
    if (!go) {
        uint16_t each = (uint16_t)(target_bytes + input_bytes);

        if (each > MAX_PAYLOAD || (uint16_t)(p - PAYLOAD) + (uint16_t)(samples * each) != size) {
            return BP_E_LEN;
        }
        if ((flags & (uint8_t)~known) != 0 || samples == 0) {
            return BP_E_RANGE;
        }
    } else {
        if ((flags & BP_FLAG_STAGED) != 0 && !is32(p + target_bytes, input_crc())) {
            return BP_E_STATE;
        }
        state.value = 0;
    }
    do {
        const uint8_t *input = p + target_bytes;

        if (!go) {
            if ((flags & BP_FLAG_CLASS) != 0 && get16(p) >= BP_NETWORK_N_OUT) {
                return BP_E_RANGE;
            }
            if ((flags & BP_FLAG_STAGED) == 0 && !are_inputs(input, BP_NETWORK_N_IN)) {
                return BP_E_RANGE;
            }
        } else {
            if ((flags & BP_FLAG_STAGED) == 0) {
                set_inputs(0, input, BP_NETWORK_N_IN);
            }
            bp_network_forward();
#if BP_NETWORK_LEARNS
            if (type != BP_INFER) {
                learn(type, flags, p);
            }
#endif
        }
        p = input + input_bytes;
    } while (--samples != 0);
#if BP_NETWORK_APPLIES
    if (go && (flags & BP_FLAG_APPLY) != 0) {
        bp_network_apply();
    }
#endif
    return BP_OK;
}

#if BP_NETWORK_LEARNS
/* Copy n masters from the network to p, or from p if `set`. Returns the end of those at p. */
static uint8_t *copy_masters(uint8_t *p, uint16_t first, uint8_t n, uint8_t set)
{
    uint8_t *high = BP_NETWORK_HIGH + 2u * (size_t)first;
#if BP_NETWORK_MASTER_BYTES == 3
    uint8_t *low = BP_NETWORK_LOW + first;
#endif

    for (; n != 0; n--) {
#if BP_NETWORK_MASTER_BYTES == 3
        if (set) {
            *low = *p;
        }
        *p++ = *low++;
#endif
        if (set) {
            high[0] = p[0];
            high[1] = p[1];
        }
        *p++ = *high++;
        *p++ = *high++;
    }
    return p;
}

/* Element `index` of the gradient that backward left behind. */
static int32_t gradient(uint16_t index)
{
    const bp_network_layer_t *layer;

    for (layer = bp_network_layers;; layer++) {
        const int16_t *dz = bp_network_dz(layer);
        uint16_t inputs = bp_rom_u16(&layer->inputs);
        uint16_t outputs = bp_rom_u16(&layer->outputs);
        uint16_t weights = (uint16_t)(inputs * outputs);

        if (index < weights) {
            while (index >= inputs) {
                index = (uint16_t)(index - inputs);
                dz++;
            }
            return *dz * (int32_t)bp_network_a_in(layer)[index];
        }
        index = (uint16_t)(index - weights);
        if (index < outputs) {
            return dz[index] * ((int32_t)1 << bp_rom_u8(&layer->a_in_frac));
        }
        index = (uint16_t)(index - outputs);
    }
}

static uint8_t set_parameter(const uint8_t *p)
{
    if (p[4] != 0) {
        return BP_E_RANGE;
    }
    if (p[0] == BP_PARAMETER_LEARNING_RATE) {
        return bp_network_set_learning_rate(get16(p + 1), (int8_t)p[3]) == 0 ? BP_OK : BP_E_RANGE;
    }
    if (p[3] != 0) {
        return BP_E_RANGE;
    }
    switch (p[0]) {
#ifdef BP_NETWORK_DECAY
    case BP_PARAMETER_DECAY:
        if (get16(p + 1) > 32767u) {
            return BP_E_RANGE;
        }
        BP_NETWORK_DECAY = get16(p + 1);
        return BP_OK;
#endif
#ifdef BP_NETWORK_MOMENTUM
    case BP_PARAMETER_MOMENTUM:
        BP_NETWORK_MOMENTUM = get16(p + 1);
        return BP_OK;
#endif
#ifdef BP_NETWORK_SEED
    case BP_PARAMETER_SEED:
        BP_NETWORK_SEED = get16(p + 1);
        return BP_OK;
#endif
    default:
        return BP_E_RANGE;
    }
}
#endif

#if BP_STORE_BYTES
static uint8_t save(void)
{
    if (state.mode == SAVE_FAILED) {
        state.mode = 0;
        return BP_E_HW;
    }
    bp_store_save(state.gen);
    if (bp_store_remaining() != 0) {
        state.mode = SAVING;
    }
    return BP_OK;
}

static void poll_store(void)
{
    int8_t result;

    if (state.mode != SAVING) {
        return;
    }
    result = bp_store_poll();
    if (result == 0) {
        state.mode = 0;
        count(&state.saves);
    } else if (result < 0) {
        state.mode = SAVE_FAILED;
    }
}
#endif

/* Do what a checked request asks, but for its reply. */
static uint8_t execute(uint8_t type)
{
    uint8_t *p = PAYLOAD;

    switch (type) {
    case BP_HELLO:
        state.session = get16(FRAME + 2);
        state.greeted = 1;
        break;
    case BP_SETX:
        set_inputs(get16(p), p + 3, p[2]);
        break;
#if BP_NETWORK_LEARNS
    case BP_GRADS:
        return state.gradient && p[0] == state.tag ? BP_OK : BP_E_STATE;
    case BP_SETW_BEGIN:
        state.mode = SETTING;
        break;
    case BP_SETW:
        (void)copy_masters(p + 7, get16(p + 4), p[6], 1);
        break;
    case BP_SETW_COMMIT:
        if (!is32(p + 4, bp_network_crc32())) {
            return BP_E_STATE;
        }
        state.mode = 0;
        break;
    case BP_RESET_MODEL:
        bp_network_reset();
#ifdef BP_NETWORK_SEED
        BP_NETWORK_SEED = get16(p + 4);
#endif
        state.mode = 0;
        break;
    case BP_SET_PARAM:
        return set_parameter(p + 4);
#endif
#if BP_STORE_BYTES
    case BP_SAVE:
        return save();
    case BP_LOAD: {
        uint32_t gen;

        return bp_store_load(&gen) == 0 ? BP_OK : BP_E_STATE;
    }
#endif
    default:
        if (type <= BP_TRAIN_N && type >= BP_INFER) {
            return run(type, 0, 1);
        }
        break;
    }
    return BP_OK;
}

/* ---- Replies: what they say is in the state, so that they can be told again ----------------- */

static uint8_t *put_checksum(uint8_t *p)
{
#if BP_NETWORK_LEARNS
    state.value = bp_network_crc32();
#endif
    return copy(p, &state.value, 4);
}

/* The start of BOOT, and of HELLO's reply behind the protocol. */
static uint8_t *put_reset(uint8_t *p)
{
    uint16_t boots = bp_port_reset(p + 2);

    p[0] = (uint8_t)(boots & 255u);
    p[1] = (uint8_t)(boots >> 8);
    return p + 3;
}

/* Write the reply OK to a request that was executed. Returns its end. */
static uint8_t *reply(uint8_t type)
{
    uint8_t *p = PAYLOAD + 1;
    uint16_t first = get16(PAYLOAD);
#if BP_NETWORK_LEARNS
    uint8_t n = PAYLOAD[2];
#endif

    switch (type) {
    case BP_HELLO:
        *p++ = BP_PROTOCOL;
        p = put_reset(p);
        *p++ = CAPABILITIES;
        p = copy(p, &state.gen, 4);
        p = copy_rom(p, announced, HASH_BYTES);
        p = put_checksum(p);
        return copy_rom(p, announced + HASH_BYTES / 2u, sizeof(announced) - HASH_BYTES);
    case BP_DESCRIBE: {
        uint16_t size = BP_DEVICE_DESCRIPTION_BYTES;
        uint16_t left = (uint16_t)(size - first);

        p = copy(p, &size, 2);
        return copy_rom(p, bp_device_description + first,
                        (uint8_t)(left < MAX_PAYLOAD - 3u ? left : MAX_PAYLOAD - 3u));
    }
    case BP_SETX:
        return p;
    case BP_STATS:
        if ((first & 255u) == 0) {
            (void)put_checksum(p);
            state.lost = bp_port_lost();
            return copy(p, &state.gen, STATS_BYTES);
        }
#if BPGEN_COUNTERS
        return copy(p, &bp_network.counters, 20);
#else
        while (p != PAYLOAD + 21) {
            *p++ = 0;
        }
        return p;
#endif
    case BP_ECHO: /* its bytes are in place */
        return p + p[-1];
#if BP_NETWORK_LEARNS
    case BP_GRADS:
        first = get16(p);
        n = p[2];
        *p++ = state.tag;
        for (; n != 0; n--) {
            p = put32(p, (uint32_t)gradient(first++));
        }
        return p;
#endif
    default:
        break;
    }
#if BP_NETWORK_LEARNS
    if (type != BP_INFER) {
        p = copy(p, &state.gen, 4);
    }
    if (type == BP_GETW) {
        return copy_masters(p, first, n, 0);
    }
#if BP_STORE_BYTES
    if (type == BP_SAVE) {
        uint16_t remaining = bp_store_remaining();

        return copy(p, &remaining, 2);
    }
    if (type == BP_LOAD) {
        return put_checksum(p);
    }
#endif
    if (type == BP_BACKWARD) {
        *p++ = state.tag;
    }
    if (type >= BP_BACKWARD && type <= BP_TRAIN_N) {
        p = copy(p, &state.value, 4);
    }
#endif
    if (type <= BP_TRAIN) {
        p = copy(p, bp_network_outputs(), OUTPUT_BYTES);
    }
    return p;
}

/* ---- Serving -------------------------------------------------------------------------------- */

/* Whether {first u16, count u8} at p are some of the network's things, and no more than fit the
 * reply.
 */
static uint8_t is_part(uint8_t type, const uint8_t *p)
{
    uint16_t total = type == BP_SETX ? BP_NETWORK_N_IN : BP_NETWORK_N_PARAMETERS;
    uint16_t first = get16(p);
    uint8_t n = p[2];

    if (type == BP_GRADS && n > (MAX_PAYLOAD - 2u) / 4u) {
        return 0;
    }
    if (type == BP_GETW && n > (MAX_PAYLOAD - 5u) / BP_NETWORK_MASTER_BYTES) {
        return 0;
    }
    return n != 0 && first < total && n <= (uint16_t)(total - first);
}

/* Check and do the request in the frame. Returns the status; OK for a repeat. */
static uint8_t serve(uint8_t type, uint8_t size)
{
    const uint8_t *p = PAYLOAD;
    const uint8_t *row;
    uint8_t fixed = 0;
    uint8_t may;
    uint8_t status = BP_OK;

    if (type != BP_HELLO && (!state.greeted || !same(FRAME + 2, &state.session, 2))) {
        return BP_E_SESSION;
    }
    row = requests[0] + 3 * (type - 1);
    if (type != 0 && type <= BP_ECHO) {
        fixed = bp_rom_u8(row);
    }
    if (fixed == 0) {
        return BP_E_TYPE;
    }
    if (size < fixed) {
        return BP_E_LEN;
    }
    may = bp_rom_u8(row + 2);
    if ((may & RUNS) != 0) {
        status = run(type, size, 0);
        if (status == BP_E_LEN) {
            return status;
        }
    } else {
        if ((uint16_t)(bp_rom_u8(row + 1) * p[fixed - 1u]) != (uint16_t)(size - fixed)) {
            return BP_E_LEN;
        }
        if (((may & PART) != 0 && !is_part(type, p + fixed - 3)) ||
            (type == BP_SETX && !are_inputs(p + 3, p[2])) ||
            (type == BP_HELLO && (p[0] > BP_PROTOCOL || p[1] < BP_PROTOCOL)) ||
            (type == BP_DESCRIBE && get16(p) > BP_DEVICE_DESCRIPTION_BYTES) ||
            (type == BP_STATS && p[0] > 1)) {
            status = BP_E_RANGE;
        }
    }
    if (type == state.type && FRAME[1] == state.seq) {
        count(&state.repeats);
        return BP_OK;
    }
    if (state.mode == SETTING ? (may & WHILE_SETTING) == 0
                              : type == BP_SETW || type == BP_SETW_COMMIT) {
        return BP_E_STATE;
    }
    if (state.mode == SAVING && (may & CHANGES) != 0) {
        return BP_E_STATE;
    }
    if (status != BP_OK) {
        return status;
    }
    if ((may & WITH_GEN) != 0 && !same(p, &state.gen, 4)) {
        count(&state.refused);
        return BP_E_GEN;
    }
    status = execute(type);
    if (status != BP_OK) {
        return status;
    }
    state.type = 0;
    if ((may & ENDS_GRADIENT) != 0) {
        state.gradient = 0;
    }
    if (type == BP_BACKWARD) {
        state.gradient = 1;
        state.tag++;
    }
    if ((may & CHANGES) != 0) {
        state.seq = FRAME[1];
        state.type = type;
        add(&state.gen, type == BP_TRAIN_N ? p[5] : 1u);
    }
    return BP_OK;
}

static void answer(uint8_t size)
{
    uint32_t start = bp_port_clock();
    uint8_t type = FRAME[0];
    uint8_t status = serve(type, (uint8_t)(size - BP_OVERHEAD));
    uint8_t *end = status == BP_OK ? reply(type) : copy(PAYLOAD + 1, &state.gen, 4);

    PAYLOAD[0] = status;
    FRAME[0] = (uint8_t)(type + BP_REPLY);
    start = bp_port_clock() - start;
    if (start > state.longest) {
        state.longest = start;
    }
    send(end);
}

static void keep_time(void)
{
    while (bp_port_clock() - state.clock >= 1000u) {
        add(&state.clock, 1000);
        add(&state.uptime, 1);
    }
}

void bp_link_begin(void)
{
    uint8_t *bytes = (uint8_t *)&state;
    uint8_t *end;
    size_t i;

    for (i = 0; i < sizeof(state); i++) {
        bytes[i] = 0;
    }
    state.clock = bp_port_clock();
    bp_network_reset();
#if BP_STORE_BYTES
    if (bp_store_load(&state.gen) != 0) {
        state.gen = 0;
    }
#endif
    FRAME[0] = BP_BOOT;
    end = put_reset(PAYLOAD);
    end = copy(end, &state.gen, 4);
    send(copy_rom(end, announced, HASH_BYTES));
}

uint8_t bp_link_poll(void)
{
    int16_t byte;

    keep_time();
#if BP_STORE_BYTES
    poll_store();
#endif
    while ((byte = bp_port_read()) >= 0) {
        uint8_t size = receive((uint8_t)byte);

        if (size != 0) {
            answer(size);
            return 1;
        }
    }
    return 0;
}

void bp_link_changed(void)
{
    add(&state.gen, 1);
    state.type = 0;
    state.gradient = 0;
}
