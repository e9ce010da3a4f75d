/* bpgen_link_requests.h -- what each request of docs/protocol.md may do, and what HELLO answers.
 *
 * bpgen_link.c alone includes this.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LINK_REQUESTS_H
#define BPGEN_LINK_REQUESTS_H

#define MAX_PAYLOAD (BP_LINK_FRAME - BP_OVERHEAD)

/* Bytes of a whole input; any number above MAX_PAYLOAD for one that no request holds. */
#define INPUT_BYTES (BP_NETWORK_N_IN > 127 ? 255u : 2u * BP_NETWORK_N_IN)
#define OUTPUT_BYTES (2u * BP_NETWORK_N_OUT)
#define INPUT_SPAN ((uint16_t)((uint16_t)BP_NETWORK_A0_TOP - (uint16_t)BP_NETWORK_A0_LOWEST))

/* Whether some sample is longer than a request, and comes in pieces. */
#if BP_NETWORK_LEARNS
#define STAGES (5u + OUTPUT_BYTES + INPUT_BYTES > MAX_PAYLOAD)
#else
#define STAGES (1u + INPUT_BYTES > MAX_PAYLOAD)
#endif

/* What the board is at. */
#define IDLE 1u
#define SETTING 2u                  /* between SETW_BEGIN and SETW_COMMIT */
#define SAVING 4u                   /* the store writes */
#define SAVE_FAILED (IDLE | SAVING) /* idle, but the next SAVE tells that the store could not */
#define NO_SESSION 128u             /* beside IDLE: before the first HELLO */

/* What a request does, beside the modes in which it is served. */
#define WITH_GEN 8u /* its payload begins with gen */
#define CHANGES 16u /* it raises gen */
#define GIVES 32u   /* its reply holds what its fixed bytes count, otherwise it does itself */
#define PART 64u    /* its fixed bytes end with {first u16, count u8} */
#define RUNS 128u   /* it runs the network; its fixed bytes end with flags */

#define ALWAYS (IDLE | SETTING | SAVING)
#define READS (IDLE | SAVING)
#define LEARNS (IDLE | WITH_GEN | CHANGES)
#define REPLACES (SETTING | LEARNS)
#if BP_NETWORK_MEANS
#define BACKWARD (LEARNS | RUNS)
#else
#define BACKWARD (READS | WITH_GEN | RUNS)
#endif

#define CLASS (BP_NETWORK_N_OUT > 1 ? BP_FLAG_CLASS : 0u)
#define STAGED (STAGES ? BP_FLAG_STAGED : 0u)
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
#define STAGING(fixed) (STAGES ? (fixed) : 0u)

#define MASTER BP_NETWORK_MASTER_BYTES
#define GRADS_MOST ((MAX_PAYLOAD - 1u) / 4u)
#define GETW_MOST ((MAX_PAYLOAD - 5u) / MASTER)

typedef struct {
    uint8_t fixed; /* bytes of its payload, without what is counted; 0: there is no such request */
    uint8_t each;  /* bytes of each of what its last fixed byte counts. GIVES: the most that can be
                    * counted. RUNS: the flags that it knows */
    uint8_t reply; /* GEN, VALUE or TAG, or 0 */
    uint8_t does;
} request_t;

static const request_t requests[BP_ECHO] BP_ROM = {
    {2u, 0u, 0u, ALWAYS},                                         /* HELLO */
    {3u, MAX_PAYLOAD - 1u, 0u, ALWAYS | PART | GIVES},            /* DESCRIBE */
    {STAGING(3u), 2u, 0u, READS | PART},                          /* SETX */
    {1u, STAGED, 0u, READS | RUNS},                               /* INFER */
    {LEARNING(5u), CLASS | STAGED, TAG, BACKWARD},                /* BACKWARD */
    {LEARNING(5u), CLASS | STAGED | APPLY, VALUE, LEARNS | RUNS}, /* TRAIN */
    {LEARNING(6u), CLASS | APPLY, VALUE, LEARNS | RUNS},          /* TRAIN_N */
    {LEARNING(4u), GRADS_MOST, 0u, READS | PART | GIVES},         /* GRADS */
    {LEARNING(3u), GETW_MOST, 0u, READS | PART | GIVES},          /* GETW */
    {LEARNING(4u), 0u, GEN, REPLACES},                            /* SETW_BEGIN */
    {LEARNING(7u), MASTER, GEN, SETTING | WITH_GEN | PART},       /* SETW */
    {LEARNING(8u), 0u, GEN, SETTING | WITH_GEN | CHANGES},        /* SETW_COMMIT */
    {STORING(4u), 0u, VALUE, READS | WITH_GEN},                   /* SAVE */
    {STORING(4u), 0u, VALUE, LEARNS},                             /* LOAD */
    {LEARNING(6u), 0u, GEN, REPLACES},                            /* RESET_MODEL */
    {LEARNING(8u), 0u, GEN, LEARNS},                              /* SET_PARAM */
    {1u, 0u, 0u, ALWAYS},                                         /* STATS */
    {1u, 1u, 0u, ALWAYS},                                         /* ECHO */
};

#define CAPABILITIES                                                \
    ((BP_NETWORK_LEARNS ? BP_CAPABILITY_LEARNS : 0u) |              \
     (BP_NETWORK_MASTER_BYTES == 3 ? BP_CAPABILITY_LOW_BYTE : 0u) | \
     (BP_NETWORK_APPLIES ? BP_CAPABILITY_BATCHES : 0u) |            \
     (BP_NETWORK_MEANS ? BP_CAPABILITY_MEANS : 0u) |                \
     (BP_STORE_BYTES ? BP_CAPABILITY_STORE : 0u) |                  \
     (BPGEN_COUNTERS ? BP_CAPABILITY_COUNTERS : 0u) |               \
     (STAGES ? BP_CAPABILITY_STAGES : 0u))

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

#endif
