/* bpgen_link.c -- the board's side of the wire: docs/protocol.md.
 *
 * One buffer holds the request and then its reply. A table says what each request may do. Most
 * replies are a piece of the link's state and the network's outputs, so a repeat is answered again
 * from what is in memory. Numbers are copied between wire and memory as they are, both being
 * little-endian: bpgen_device.c asserts it.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_link.h"
#include "bpgen_store.h"

#define MAX_PAYLOAD (BP_LINK_FRAME - BP_OVERHEAD)

/* Bytes of a whole input; any number above MAX_PAYLOAD for one that no request holds. */
#define INPUT_BYTES (BP_NETWORK_N_IN > 127 ? 255u : 2u * BP_NETWORK_N_IN)
#define OUTPUT_BYTES (2u * BP_NETWORK_N_OUT)
#define INPUT_SPAN ((uint16_t)((uint16_t)BP_NETWORK_A0_TOP - (uint16_t)BP_NETWORK_A0_LOWEST))

/* ---- Requests ------------------------------------------------------------------------------- */

/* What the board is at. */
#define IDLE 1u
#define SETTING 2u                  /* between SETW_BEGIN and SETW_COMMIT */
#define SAVING 4u                   /* the store writes */
#define SAVE_FAILED (IDLE | SAVING) /* idle, but the next SAVE tells that the store could not */
#define NO_SESSION 128u             /* beside IDLE: before the first HELLO */

/* What a request does, beside the modes in which it is served. */
#define WITH_GEN 8u       /* its payload begins with gen */
#define CHANGES 16u       /* it raises gen */
#define ENDS_GRADIENT 32u /* it overwrites what GRADS reads */
#define PART 64u          /* its fixed bytes end with {first u16, count u8} */
#define RUNS 128u         /* it runs the network; its fixed bytes end with flags */

#define ALWAYS (IDLE | SETTING | SAVING)
#define READS (IDLE | SAVING)
#define LEARNS (IDLE | WITH_GEN | CHANGES | ENDS_GRADIENT)
#define REPLACES (SETTING | LEARNS)
#if BP_NETWORK_MEANS
#define BACKWARD (LEARNS | RUNS)
#else
#define BACKWARD (READS | WITH_GEN | ENDS_GRADIENT | RUNS)
#endif

#define CLASS BP_FLAG_CLASS
#define STAGED BP_FLAG_STAGED
#define APPLY (BP_NETWORK_APPLIES ? BP_FLAG_APPLY : 0u)

/* The piece of the link's state that a reply begins with. */
#define GEN 4u   /* gen */
#define VALUE 8u /* gen and value */
#define TAG 9u   /* gen, value and tag */

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

#define MASTER BP_NETWORK_MASTER_BYTES
#define GRADS_MOST ((MAX_PAYLOAD - 1u) / 4u)
#define GETW_MOST ((MAX_PAYLOAD - 5u) / MASTER)

typedef struct {
    uint8_t fixed; /* bytes of its payload, without what is counted; 0: there is no such request */
    uint8_t each;  /* bytes of each of what its last fixed byte counts; RUNS: the flags it knows */
    uint8_t most;  /* PART: how many its reply holds */
    uint8_t reply; /* GEN, VALUE or TAG, or 0 */
    uint8_t does;
} request_t;

static const request_t requests[BP_ECHO] BP_ROM = {
    {2u, 0u, 0u, 0u, ALWAYS},                                         /* HELLO */
    {3u, 0u, MAX_PAYLOAD - 1u, 0u, ALWAYS | PART},                    /* DESCRIBE */
    {3u, 2u, 255u, 0u, READS | ENDS_GRADIENT | PART},                 /* SETX */
    {1u, STAGED, 0u, 0u, READS | ENDS_GRADIENT | RUNS},               /* INFER */
    {LEARNING(5u), CLASS | STAGED, 0u, TAG, BACKWARD},                /* BACKWARD */
    {LEARNING(5u), CLASS | STAGED | APPLY, 0u, VALUE, LEARNS | RUNS}, /* TRAIN */
    {LEARNING(6u), CLASS | APPLY, 0u, VALUE, LEARNS | RUNS},          /* TRAIN_N */
    {LEARNING(4u), 0u, GRADS_MOST, 0u, READS | PART},                 /* GRADS */
    {LEARNING(3u), 0u, GETW_MOST, 0u, READS | PART},                  /* GETW */
    {LEARNING(4u), 0u, 0u, GEN, REPLACES},                            /* SETW_BEGIN */
    {LEARNING(7u), MASTER, 255u, GEN, SETTING | WITH_GEN | PART},     /* SETW */
    {LEARNING(8u), 0u, 0u, GEN, SETTING | WITH_GEN | CHANGES},        /* SETW_COMMIT */
    {STORING(4u), 0u, 0u, VALUE, READS | WITH_GEN},                   /* SAVE */
    {STORING(4u), 0u, 0u, VALUE, LEARNS},                             /* LOAD */
    {LEARNING(6u), 0u, 0u, GEN, REPLACES},                            /* RESET_MODEL */
    {LEARNING(8u), 0u, 0u, GEN, IDLE | WITH_GEN | CHANGES},           /* SET_PARAM */
    {1u, 0u, 0u, 0u, ALWAYS},                                         /* STATS */
    {1u, 1u, 0u, 0u, ALWAYS},                                         /* ECHO */
};

#define CAPABILITIES                                                \
    ((BP_NETWORK_LEARNS ? BP_CAPABILITY_LEARNS : 0u) |              \
     (BP_NETWORK_MASTER_BYTES == 3 ? BP_CAPABILITY_LOW_BYTE : 0u) | \
     (BP_NETWORK_APPLIES ? BP_CAPABILITY_BATCHES : 0u) |            \
     (BP_NETWORK_MEANS ? BP_CAPABILITY_MEANS : 0u) |                \
     (BP_STORE_BYTES ? BP_CAPABILITY_STORE : 0u) |                  \
     (BPGEN_COUNTERS ? BP_CAPABILITY_COUNTERS : 0u))

/* What HELLO answers first, and BOOT says. */
static const uint16_t firmware[10] BP_ROM = {
    BP_PROTOCOL | CAPABILITIES << 8,
    BP_NETWORK_HASH & 65535u,
    BP_NETWORK_HASH >> 16,
    BP_LINK_WINDOW,
    MAX_PAYLOAD,
    MAX_PAYLOAD,
    BP_NETWORK_N_IN,
    BP_NETWORK_N_OUT,
    BP_NETWORK_N_PARAMETERS,
    BP_DEVICE_DESCRIPTION_BYTES,
};

/* ---- State ---------------------------------------------------------------------------------- */

#if BP_LINK_FRAME < 254
typedef uint8_t place_t;
#else
typedef uint16_t place_t;
#endif

typedef struct {
    /* As on the wire: replies begin with a piece of this, that to STATS with all up to `saves`. */
    uint32_t gen;
    uint32_t value; /* the loss of the last request that had one; a checksum; bytes left to save */
    uint8_t tag;    /* of the gradient that GRADS reads */
    uint8_t mode;
    uint16_t uptime;
    uint16_t uptime_high;
    uint16_t bad;
    uint32_t longest;
    uint16_t repeats;
    uint16_t refused;
    uint16_t saves;

    uint16_t session;
    uint8_t type; /* of the last request that was done, if it raised gen, or 0 */
    uint8_t seq;
    place_t received; /* bytes in `frame`; one more than it holds: too long */
    uint8_t frame[1 + BP_LINK_FRAME]; /* the first COBS code, and what it is in front of */
} link_t;

#define STATS_BYTES 26u

BP_STATIC_ASSERT(offsetof(link_t, session) == STATS_BYTES, stats_have_no_padding);

static link_t state;

#define FRAME (s->frame + 1)
#define TYPE FRAME[0]
#define PAYLOAD (s->frame + 5)

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)p[1] << 8);
}

static uint8_t *put16(uint8_t *to, uint16_t value)
{
    *to++ = (uint8_t)(value & 255u);
    *to++ = (uint8_t)(value >> 8);
    return to;
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

/* Copy n bytes, at least 1. Returns the end of the copy. */
static uint8_t *copy(uint8_t *to, const void *from, uint8_t n)
{
    const uint8_t *p = (const uint8_t *)from;

    do {
        *to++ = *p++;
    } while (--n != 0);
    return to;
}

static uint8_t *copy_rom(uint8_t *to, const void *from, uint8_t n)
{
    const uint8_t *p = (const uint8_t *)from;

    do {
        *to++ = bp_rom_u8(p++);
    } while (--n != 0);
    return to;
}

static uint8_t same(const uint8_t *p, const void *other, uint8_t n)
{
    const uint8_t *q = (const uint8_t *)other;

    do {
        if (*p++ != *q++) {
            return 0;
        }
    } while (--n != 0);
    return 1;
}

static void count(uint16_t *counter)
{
    uint16_t value = (uint16_t)(*counter + 1u);

    if (value != 0) {
        *counter = value;
    }
}

/* Whether n bytes at p end with the CRC-32 of what `crc` has seen and of those in front of it. */
static uint8_t is_sealed(uint32_t crc, const uint8_t *p, uint8_t n)
{
    return bp_crc32(crc, p, n) == 0xDEBB20E3u;
}

/* ---- Frames --------------------------------------------------------------------------------- */

/* COBS puts into the place of each zero how far away the next one is, the first code being in front
 * of the frame and the last one telling its end. So a frame is decoded and coded where it stands.
 */

/* Take in one byte of the line. Returns the size of the frame that it completes, or 0. */
static uint8_t receive(link_t *s, uint8_t byte)
{
    place_t n = s->received;
    uint8_t *p = s->frame;

    if (byte != 0) {
        if (n <= BP_LINK_FRAME) {
            p[n] = byte;
        }
        if (n <= BP_LINK_FRAME + 1u) {
            s->received++;
        }
        return 0;
    }
    s->received = 0;
    if (n == 0) {
        return 0;
    }
    if (n > BP_OVERHEAD && n <= BP_LINK_FRAME + 1u) {
        const uint8_t *end = p + n;

        while (p < end) {
            byte = *p;
            *p = 0;
            p += byte;
        }
        if (p == end && is_sealed(0xFFFFFFFFu, FRAME, (uint8_t)(n - 1u))) {
            return (uint8_t)(n - 1u);
        }
    }
    count(&s->bad);
    return 0;
}

/* Send the frame whose payload ends at `end`. */
static void send(link_t *s, uint8_t *end)
{
    uint8_t code = 1;
    uint8_t *p;

    end = put32(end, ~bp_crc32(0xFFFFFFFFu, FRAME, (size_t)(end - FRAME)));
    p = end;
    do {
        p--;
        if (*p == 0) {
            *p = code;
            code = 0;
        }
        code++;
    } while (p != s->frame);
    bp_port_write(0);
    do {
        bp_port_write(*p++);
    } while (p != end);
    bp_port_write(0);
}

/* ---- Running the network -------------------------------------------------------------------- */

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

/* The CRC, not inverted, of the input as it would stand in a request. */
static inline uint32_t input_crc(void)
{
    uint32_t crc = 0xFFFFFFFFu;
    uint16_t i;

    if (sizeof(bp_network.a0[0]) == 2) {
        return bp_crc32(crc, (const uint8_t *)bp_network.a0, 2u * BP_NETWORK_N_IN);
    }
    for (i = 0; i < BP_NETWORK_N_IN; i++) {
        uint16_t value = (uint16_t)bp_network_input(i);

        crc = bp_crc32_byte(crc, (uint8_t)(value & 255u));
        crc = bp_crc32_byte(crc, (uint8_t)(value >> 8));
    }
    return crc;
}

static inline uint8_t target_bytes(const link_t *s, uint8_t flags)
{
    return TYPE == BP_INFER ? 0u : (flags & CLASS) != 0 ? 2u : OUTPUT_BYTES;
}

/* Check that there are n samples in the `size` bytes at p. Returns a status. */
static uint8_t check_samples(const link_t *s, const uint8_t *p, uint8_t size, uint8_t n,
                             uint8_t flags)
{
    uint8_t target = target_bytes(s, flags);
    uint8_t input = (flags & STAGED) != 0 ? 4u : INPUT_BYTES;
    uint16_t each = (uint16_t)(target + input);

    if (each > MAX_PAYLOAD || (uint16_t)(n * each) != size) {
        return BP_E_LEN;
    }
    for (; n != 0; n--) {
        if ((flags & CLASS) != 0 && get16(p) >= BP_NETWORK_N_OUT) {
            return BP_E_RANGE;
        }
        p += target;
        if ((flags & STAGED) == 0 && !are_inputs(p, INPUT_BYTES / 2u)) {
            return BP_E_RANGE;
        }
        p += input;
    }
    return BP_OK;
}

#if BP_NETWORK_LEARNS
/* Learn from the sample that forward has just seen, or for BACKWARD only fill its deltas. */
static void learn(link_t *s, uint8_t flags, const uint8_t *target)
{
    int16_t t[BP_NETWORK_N_OUT];
    union {
        int64_t whole;
        uint32_t half[2];
    } loss;
    uint8_t j;

    for (j = 0; j < BP_NETWORK_N_OUT; j++) {
        t[j] = j == target[0] ? BP_NETWORK_ONE : 0;
    }
    if ((flags & CLASS) == 0) {
        (void)copy((uint8_t *)t, target, OUTPUT_BYTES);
    }
    loss.whole = bp_network_loss(t);
    if (loss.half[1] != 0) {
        loss.half[0] = (loss.half[1] >> 31) - 1u;
    }
    s->value += loss.half[0];
    if (s->value < loss.half[0]) {
        s->value = 0xFFFFFFFFu;
    }
    bp_network_backward(t);
    if (TYPE != BP_BACKWARD) {
        bp_network_step();
    }
}
#endif

/* Do the request with its n samples at p. Returns whether it named the sample that is staged. */
static uint8_t run(link_t *s, const uint8_t *p, uint8_t n, uint8_t flags)
{
    uint8_t target = target_bytes(s, flags);

    if ((flags & STAGED) != 0 && !is_sealed(input_crc(), p + target, 4)) {
        return 0;
    }
    s->value = 0;
    for (; n != 0; n--) {
        if ((flags & STAGED) == 0) {
            set_inputs(0, p + target, INPUT_BYTES / 2u);
        }
        bp_network_forward();
#if BP_NETWORK_LEARNS
        if (TYPE != BP_INFER) {
            learn(s, flags, p);
        }
#endif
        p += target + INPUT_BYTES; /* a staged sample is the only one */
    }
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
    const bp_network_layer_t *layer;

    for (layer = bp_network_layers;; layer++) {
        const int16_t *dz = bp_network_dz(layer);
        uint16_t inputs = bp_rom_u16(&layer->inputs);
        uint16_t weights = bp_rom_u16(&layer->weights);
        uint16_t outputs = bp_rom_u16(&layer->outputs);

        if (index < weights) {
            for (; index >= inputs; index = (uint16_t)(index - inputs)) {
                dz++;
            }
            return *dz * (int32_t)bp_network_a_in(layer)[index];
        }
        index = (uint16_t)(index - weights);
        if (index < outputs) {
            return dz[index] * (int32_t)bp_rom_u16(&layer->one);
        }
        index = (uint16_t)(index - outputs);
    }
}

/* n masters from memory to a page, or back: their high halves, then their low bytes. */
static void copy_masters(uint8_t *page, uint16_t first, uint8_t n, uint8_t back)
{
    uint8_t i;

    for (i = 0; i < n; i++) {
        size_t place = bp_network_parameter((uint16_t)(first + i));
        (void)(back ? copy(BP_NETWORK_HIGH + 2u * place, page + 2u * i, 2)
                    : copy(page + 2u * i, BP_NETWORK_HIGH + 2u * place, 2));
#if BP_NETWORK_MASTER_BYTES == 3
        (void)(back ? copy(BP_NETWORK_LOW + place, page + 2u * n + i, 1)
                    : copy(page + 2u * n + i, BP_NETWORK_LOW + place, 1));
#endif
    }
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

/* ---- Serving -------------------------------------------------------------------------------- */

static void checksum(link_t *s)
{
#if BP_NETWORK_LEARNS
    s->value = bp_network_crc32();
#else
    s->value = 0;
#endif
}

/* Write what HELLO answers and BOOT says, after OK. Returns its end. */
static uint8_t *introduce(link_t *s)
{
    uint8_t *to = copy_rom(PAYLOAD + 1, firmware, sizeof(firmware));

    checksum(s);
    to = copy(to, s, VALUE);
    return put16(to + 1, bp_port_reset(to));
}

static uint8_t *refuse(link_t *s, uint8_t status)
{
    PAYLOAD[0] = status;
    return NULL;
}

/* Whether there is what {first u16, count u8} at p name. */
static uint8_t is_part(const link_t *s, const uint8_t *p, uint8_t most)
{
    uint16_t total = BP_NETWORK_N_PARAMETERS;
    uint16_t first = get16(p);

    if (TYPE == BP_DESCRIBE) {
        total = BP_DEVICE_DESCRIPTION_BYTES;
    } else if (TYPE == BP_SETX) {
        total = BP_NETWORK_N_IN;
    }
    return (uint8_t)(p[2] - 1u) < most && first < total && p[2] <= (uint16_t)(total - first);
}

/* Do what a checked request asks that does not run the network. Returns the end of its reply but
 * for what of the state comes in its place, or what refuse() gives.
 */
static uint8_t *execute(link_t *s)
{
    uint8_t *p = PAYLOAD;
    uint8_t *to = p + 1;
    uint16_t first = get16(p);
    uint8_t n = p[2];

    switch (TYPE) {
    case BP_HELLO:
        s->session = get16(FRAME + 2);
        s->mode &= (uint8_t)~NO_SESSION;
        return introduce(s);
    case BP_DESCRIBE:
        return copy_rom(to, bp_device_description + first, n);
    case BP_SETX:
        set_inputs(first, p + 3, n);
        break;
#if BP_NETWORK_LEARNS
    case BP_GRADS:
        if (p[0] != s->tag) {
            return refuse(s, BP_E_STATE);
        }
        first = get16(p + 1);
        n = p[3];
        do {
            to = put32(to, (uint32_t)gradient(first++));
        } while (--n != 0);
        break;
    case BP_GETW:
        to = copy(to, s, GEN);
        copy_masters(to, first, n, 0);
        to += (uint8_t)(BP_NETWORK_MASTER_BYTES * n);
        break;
    case BP_SETW_BEGIN:
        s->mode = SETTING;
        break;
    case BP_SETW:
        first = get16(p + 4);
        n = p[6];
        copy_masters(p + 7, first, n, 1);
        break;
    case BP_SETW_COMMIT:
        if (!is_sealed(~bp_network_crc32(), p + 4, 4)) {
            return refuse(s, BP_E_STATE);
        }
        s->mode = IDLE;
        break;
    case BP_RESET_MODEL:
        bp_network_reset();
#ifdef BP_NETWORK_SEED
        BP_NETWORK_SEED = get16(p + 4);
#endif
        s->mode = IDLE;
        break;
    case BP_SET_PARAM:
        if (set_parameter(p + 4) != BP_OK) {
            return refuse(s, BP_E_RANGE);
        }
        break;
#endif
#if BP_STORE_BYTES
    case BP_SAVE:
        if (s->mode == SAVE_FAILED) {
            s->mode = IDLE;
            return refuse(s, BP_E_HW);
        }
        s->value = bp_store_save(s->gen);
        if (s->value != 0) {
            s->mode = SAVING;
        }
        break;
    case BP_LOAD:
        if (bp_store_load(&s->value) != 0) {
            return refuse(s, BP_E_STATE);
        }
        checksum(s);
        break;
#endif
    case BP_STATS:
#if BPGEN_COUNTERS
        if (p[0] == 1) {
            return copy(to, &bp_network.counters, sizeof(bp_network.counters));
        }
#endif
        if (p[0] != 0) {
            return refuse(s, BP_E_RANGE);
        }
        checksum(s);
        return put16(copy(to, s, STATS_BYTES), bp_port_lost());
    default: /* ECHO: its bytes are in place */
        return to + p[0];
    }
    return to;
}

/* Check and do the request in the frame and write its reply; `size` is that of the payload.
 * Returns the reply's end, or what refuse() gives.
 */
static uint8_t *serve(link_t *s, uint8_t size)
{
    uint8_t *p = PAYLOAD;
    uint8_t n = (uint8_t)(TYPE - 1u);
    const request_t *request;
    uint8_t each;
    uint8_t does;
    uint8_t status;

    if (n != 0 && ((s->mode & NO_SESSION) != 0 || !same(FRAME + 2, &s->session, 2))) {
        return refuse(s, BP_E_SESSION);
    }
    if (n >= BP_ECHO || bp_rom_u8(&requests[n].fixed) == 0) {
        return refuse(s, BP_E_TYPE);
    }
    request = requests + n;
    n = bp_rom_u8(&request->fixed);
    if (size < n) {
        return refuse(s, BP_E_LEN);
    }
    size = (uint8_t)(size - n);
    p += n;
    n = p[-1];
    each = bp_rom_u8(&request->each);
    does = bp_rom_u8(&request->does);
    if ((does & RUNS) != 0) {
        each = (uint8_t)(n & ~each);
        n = TYPE == BP_TRAIN_N ? p[-2] : 1u;
        status = check_samples(s, p, size, n, p[-1]);
        if (status == BP_OK && (n == 0 || each != 0)) {
            status = BP_E_RANGE;
        }
    } else if ((uint16_t)((uint16_t)n * each) != size) {
        status = BP_E_LEN;
    } else if (((does & PART) != 0 && !is_part(s, p - 3, bp_rom_u8(&request->most))) ||
               (TYPE == BP_SETX && !are_inputs(p, n)) ||
               (TYPE == BP_HELLO && (p[-2] > BP_PROTOCOL || n < BP_PROTOCOL))) {
        status = BP_E_RANGE;
    } else {
        status = BP_OK;
    }
    if (status != BP_OK) {
        return refuse(s, status);
    }
    if ((does & WITH_GEN) != 0 && !same(PAYLOAD, s, GEN)) {
        if (!same(FRAME, &s->type, 2)) {
            count(&s->refused);
            return refuse(s, BP_E_GEN);
        }
        count(&s->repeats);
    } else {
        if ((does & s->mode) == 0 || ((does & RUNS) != 0 && !run(s, p, n, p[-1]))) {
            return refuse(s, BP_E_STATE);
        }
        p = PAYLOAD + 1;
        if ((does & RUNS) == 0) {
            p = execute(s);
            if (p == NULL) {
                return NULL;
            }
            n = 1;
        }
        s->type = 0;
        if ((does & ENDS_GRADIENT) != 0) {
            s->tag++;
        }
        if ((does & CHANGES) != 0) {
            s->type = TYPE;
            s->seq = FRAME[1];
            s->gen += n;
        }
    }
    n = bp_rom_u8(&request->reply);
    if (n != 0) {
        p = copy(PAYLOAD + 1, s, n);
    }
    if ((does & RUNS) != 0 && TYPE != BP_TRAIN_N) {
        p = copy(p, bp_network_outputs(), OUTPUT_BYTES);
    }
    PAYLOAD[0] = BP_OK;
    return p;
}

static void answer(link_t *s, uint8_t size)
{
    uint32_t start = bp_port_clock();
    uint8_t *end = serve(s, (uint8_t)(size - BP_OVERHEAD));

    if (end == NULL) {
        end = copy(PAYLOAD + 1, s, GEN);
    }
    TYPE = (uint8_t)(TYPE + BP_REPLY);
    start = bp_port_clock() - start;
    if (start > s->longest) {
        s->longest = start;
    }
    send(s, end);
}

/* ---- Running -------------------------------------------------------------------------------- */

#if BP_STORE_BYTES
static void poll_store(link_t *s)
{
    int8_t result;

    if (s->mode != SAVING) {
        return;
    }
    result = bp_store_poll();
    if (result == 0) {
        s->mode = IDLE;
        count(&s->saves);
    } else if (result < 0) {
        s->mode = SAVE_FAILED;
    }
}
#endif

/* Count 65,536 us for 1. */
static void keep_time(link_t *s)
{
    uint16_t now = (uint16_t)(bp_port_clock() >> 16);

    if (now < s->uptime) {
        s->uptime_high++;
    }
    s->uptime = now;
}

static void begin(link_t *s)
{
    uint8_t *p = (uint8_t *)s;

    do {
        *p++ = 0;
    } while (p != (uint8_t *)(s + 1));
    s->mode = IDLE | NO_SESSION;
    bp_network_reset();
#if BP_STORE_BYTES
    (void)bp_store_load(&s->gen);
#endif
    TYPE = BP_BOOT;
    send(s, introduce(s));
}

static uint8_t poll(link_t *s)
{
    int16_t byte;

    keep_time(s);
#if BP_STORE_BYTES
    poll_store(s);
#endif
    while ((byte = bp_port_read()) >= 0) {
        uint8_t size = receive(s, (uint8_t)byte);

        /* A line that echoes brings replies back: answering those would never end. */
        if (size != 0 && TYPE < BP_REPLY) {
            answer(s, size);
            return 1;
        }
    }
    return s->mode == SAVING;
}

void bp_link_begin(void) { begin(&state); }

uint8_t bp_link_poll(void) { return poll(&state); }

void bp_link_changed(void)
{
    state.gen++;
    state.type = 0;
    state.tag++;
}
