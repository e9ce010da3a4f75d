/* bpgen_link.c -- the board's side of the wire: docs/protocol.md.
 *
 * This file is the one to compile, and includes the parts. One buffer holds the request and then
 * its reply. A table says what each request may do. Most replies are a piece of the link's state
 * and the network's outputs, so a repeat is answered again from what is in memory. Numbers are
 * copied between wire and memory as they are, both being little-endian: bpgen_device.c asserts it.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_link.h"
#include "bpgen_store.h"

/* A function with several calls, or a branch or two, that is larger where it is inlined. */
#if defined(__GNUC__)
#define APART __attribute__((noinline))
#else
#define APART
#endif

#include "bpgen_link_requests.h"

/* ---- State ---------------------------------------------------------------------------------- */

#if BP_LINK_FRAME < 254
typedef uint8_t place_t;
#else
typedef uint16_t place_t;
#endif

typedef struct {
    /* As on the wire: replies begin with a piece of this, that to STATS with all up to `bad`. */
    uint32_t gen;
    uint32_t value; /* the loss of the last request that had one; a checksum; bytes left to save */
    uint8_t tag;    /* of the gradient that GRADS reads */
    uint8_t mode;
    uint16_t bad;

    uint16_t session;
    uint16_t done; /* type and seq of the last request that was done, if it raised gen, or 0 */
    union {
        int64_t whole;
        struct {
            uint32_t low;
            int16_t high; /* and nothing above: the square of an error is below 2^32 */
        } part;
    } loss;
    place_t received;  /* bytes from `code` on; one more than a frame: too long */
    request_t request; /* what the one in the frame does */
#if !BP_AVR
    uint8_t unused[3u - sizeof(place_t)]; /* for the frame's alignment */
#endif
    uint8_t code; /* the first COBS code, right in front of the frame */
    union {
        uint8_t byte[BP_LINK_FRAME + 1u]; /* the line's zero at the end */
        uint16_t type_and_seq;
        struct {
            uint8_t type;
            uint8_t seq;
            uint16_t session;
            uint32_t gen;
            uint32_t crc; /* of SETW_COMMIT */
        } is;
    } frame;
} link_t;

#define STATS_BYTES 12u

BP_STATIC_ASSERT(offsetof(link_t, session) == STATS_BYTES, stats_have_no_padding);
BP_STATIC_ASSERT(offsetof(link_t, frame) == offsetof(link_t, code) + 1u, code_is_before_the_frame);

static link_t state;

#define CODED ((uint8_t *)s + offsetof(link_t, code))
#define MOST_CODED (BP_LINK_FRAME + 2u)
#define FRAME s->frame.byte
#define TYPE s->frame.is.type
#define PAYLOAD (FRAME + 4)

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

static APART uint8_t *put32(uint8_t *to, uint32_t value)
{
    return put16(put16(to, (uint16_t)value), (uint16_t)(value >> 16));
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

static APART uint8_t *copy_rom(uint8_t *to, const void *from, uint8_t n)
{
    const uint8_t *p = (const uint8_t *)from;

    do {
        *to++ = bp_rom_u8(p++);
    } while (--n != 0);
    return to;
}

static void checksum(link_t *s)
{
#if BP_NETWORK_LEARNS
    s->value = bp_network_crc32();
#else
    s->value = 0;
#endif
}

/* Take note that the network's state is another one, and n generations on. */
static APART void changed(link_t *s, uint8_t n)
{
    s->gen += n;
    s->tag++;
    s->done = 0;
}

#include "bpgen_link_frames.h"
#include "bpgen_link_network.h"

/* ---- Serving -------------------------------------------------------------------------------- */

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

/* Whether there is what {first u16, count u8} at p name, and a reply holds it. */
static uint8_t is_part(const link_t *s, const uint8_t *p)
{
    uint16_t total = BP_NETWORK_N_PARAMETERS;
    uint16_t first = get16(p);
    uint8_t n = p[2];

    if (TYPE == BP_DESCRIBE) {
        total = BP_DEVICE_DESCRIPTION_BYTES;
    } else if (STAGES && TYPE == BP_SETX) {
        total = BP_NETWORK_N_IN;
    }
    return n != 0 && ((s->request.does & GIVES) == 0 || n <= s->request.each) && first < total &&
           n <= (uint16_t)(total - first);
}

#if BP_NETWORK_LEARNS
/* Copy n parameters, at least 1, from `first` on to the page at p, or with `set` from there: the
 * high halves of all, then the low bytes of all. Returns the page's end.
 */
static APART uint8_t *copy_page(uint8_t *p, uint16_t first, uint8_t n, uint8_t set)
{
    uint8_t *low = p + n + n;

    do {
        uint16_t place = bp_network_parameter(first++);
        uint8_t *stored = BP_NETWORK_HIGH + place + place;

        (void)(set ? copy(stored, p, 2) : copy(p, stored, 2));
        p += 2;
#if BP_NETWORK_MASTER_BYTES == 3
        stored = BP_NETWORK_LOW + place;
        (void)(set ? copy(stored, low, 1) : copy(low, stored, 1));
        low++;
#endif
    } while (--n != 0);
    return low;
}
#endif

/* Do what a checked request asks that does not run the network; `tail` are the last 4 of its fixed
 * bytes, and what they count follows. Returns the end of its reply but for what of the state comes
 * in its place, or what refuse() gives.
 */
static uint8_t *execute(link_t *s, uint8_t *tail)
{
    uint8_t *to = PAYLOAD + 1;
    uint16_t first = get16(tail + 1);
    uint8_t n = tail[3];

    switch (TYPE) {
    case BP_HELLO:
        if (tail[2] > BP_PROTOCOL || n < BP_PROTOCOL) {
            return refuse(s, BP_E_RANGE);
        }
        s->session = s->frame.is.session;
        s->mode &= (uint8_t)~NO_SESSION;
        return introduce(s);
    case BP_DESCRIBE:
        return copy_rom(to, bp_device_description + first, n);
#if STAGES
    case BP_SETX:
        set_inputs(first, tail + 4, n);
        s->tag++;
        break;
#endif
#if BP_NETWORK_LEARNS
    case BP_GRADS:
        if (tail[0] != s->tag) {
            return refuse(s, BP_E_STATE);
        }
        do {
            to = put32(to, (uint32_t)gradient(first++));
        } while (--n != 0);
        break;
    case BP_GETW:
        return copy_page(copy(to, s, GEN), first, n, 0);
    case BP_SETW_BEGIN:
        s->mode = SETTING;
        break;
    case BP_SETW:
        (void)copy_page(tail + 4, first, n, 1);
        break;
    case BP_SETW_COMMIT:
        if (bp_network_crc32() != s->frame.is.crc) {
            return refuse(s, BP_E_STATE);
        }
        s->mode = IDLE;
        break;
    case BP_RESET_MODEL:
        bp_network_reset();
#ifdef BP_NETWORK_SEED
        BP_NETWORK_SEED = get16(tail + 2);
#endif
        s->mode = IDLE;
        break;
    case BP_SET_PARAM:
        if (set_parameter(tail) != BP_OK) {
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
        first = bp_store_save(s->gen);
        if (first != 0) {
            s->mode = SAVING;
        }
        s->value = first;
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
        if (n == 1) {
            return copy(to, &bp_network.counters, sizeof(bp_network.counters));
        }
#endif
        if (n != 0) {
            return refuse(s, BP_E_RANGE);
        }
        checksum(s);
        return put16(copy(to, s, STATS_BYTES), bp_port_lost());
    default: /* ECHO: its bytes are in place */
        return to + n;
    }
    return to;
}

/* Check and do the request in the frame and write its reply; `size` is that of the payload.
 * Returns the reply's end, or what refuse() gives.
 */
static uint8_t *serve(link_t *s, uint8_t size)
{
    uint8_t n = (uint8_t)(TYPE - 1u);
    uint8_t flags = 0;
    uint8_t target = 0;
    uint8_t each;
    uint8_t *tail;
    uint8_t *to = PAYLOAD + 1;

    if (n != 0 && ((s->mode & NO_SESSION) != 0 || s->frame.is.session != s->session)) {
        return refuse(s, BP_E_SESSION);
    }
    if (n >= BP_ECHO) {
        return refuse(s, BP_E_TYPE);
    }
    (void)copy_rom((uint8_t *)&s->request, requests + n, sizeof(s->request));
    n = s->request.fixed;
    if (n == 0) {
        return refuse(s, BP_E_TYPE);
    }

    tail = FRAME + n; /* 4 bytes are in front of the payload */
    n = tail[3];
    each = (s->request.does & GIVES) != 0 ? 0u : s->request.each;
    if ((s->request.does & RUNS) != 0) {
        flags = n;
        if ((s->request.does & WITH_GEN) != 0) {
            target = (n & CLASS) != 0 ? 2u : OUTPUT_BYTES;
        }
        n = TYPE == BP_TRAIN_N ? tail[2] : 1u;
        each = (uint8_t)(target + INPUT_BYTES);
        if ((flags & STAGED) != 0) {
            each = (uint8_t)(target + 4u);
        } else if (STAGES && target + INPUT_BYTES > MAX_PAYLOAD) {
            return refuse(s, BP_E_LEN);
        }
    }
    if ((uint16_t)((uint16_t)n * each + s->request.fixed) != size) {
        return refuse(s, BP_E_LEN);
    }
    if ((s->request.does & RUNS) != 0) {
        if ((flags & (uint8_t)~s->request.each) != 0 || n == 0 ||
            !are_samples(tail + 4, n, flags, target)) {
            return refuse(s, BP_E_RANGE);
        }
    } else if ((s->request.does & PART) != 0) {
        if (!is_part(s, tail + 1) || (STAGES && TYPE == BP_SETX && !are_inputs(tail + 4, n))) {
            return refuse(s, BP_E_RANGE);
        }
    }

    if ((s->request.does & WITH_GEN) != 0 && s->frame.is.gen != s->gen) {
        if (s->frame.type_and_seq != s->done) {
            return refuse(s, BP_E_GEN);
        }
    } else {
        if ((s->request.does & s->mode) == 0) {
            return refuse(s, BP_E_STATE);
        }
        if ((s->request.does & RUNS) == 0) {
            to = execute(s, tail);
            if (to == NULL) {
                return NULL;
            }
            n = 1;
        } else if (!run(s, tail + 4, n, flags, target)) {
            return refuse(s, BP_E_STATE);
        }
        s->done = 0;
        if ((s->request.does & (CHANGES | RUNS)) != 0) {
            changed(s, (s->request.does & CHANGES) != 0 ? n : 0u);
        }
        if ((s->request.does & CHANGES) != 0) {
            s->done = s->frame.type_and_seq;
        }
    }

    if (s->request.reply != 0) {
        to = copy(PAYLOAD + 1, s, s->request.reply);
    }
    if ((s->request.does & RUNS) != 0 && TYPE != BP_TRAIN_N) {
        to = copy(to, bp_network_outputs(), OUTPUT_BYTES);
    }
    PAYLOAD[0] = BP_OK;
    return to;
}

static void answer(link_t *s, uint8_t size)
{
    uint8_t *end = serve(s, (uint8_t)(size - BP_OVERHEAD));

    if (end == NULL) {
        end = copy(PAYLOAD + 1, s, GEN);
    }
    TYPE = (uint8_t)(TYPE + BP_REPLY);
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
    } else if (result < 0) {
        s->mode = SAVE_FAILED;
    }
}
#endif

static void begin(link_t *s)
{
    uint8_t *p = (uint8_t *)s;
    uint8_t n = offsetof(link_t, frame) + 4u; /* seq and session as well */

    do {
        *p++ = 0;
    } while (--n != 0);
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

void bp_link_begin(void)
{
    begin(bp_hidden(&state));
}

uint8_t bp_link_poll(void)
{
    return poll(bp_hidden(&state));
}

void bp_link_changed(void)
{
    changed(bp_hidden(&state), 1);
}
