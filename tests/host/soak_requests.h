/* soak_requests.h -- the requests of the host of soak.c, in frames and on their way. */
#ifndef SOAK_REQUESTS_H
#define SOAK_REQUESTS_H

#include "soak_board.h"

#define MOST_WAITING 8

typedef struct {
    uint8_t type, seq;
    uint32_t gen, count; /* it raises gen by `count` */
    uint8_t line[2 * BP_LINK_FRAME];
    size_t n;
} request_t;

static request_t waiting[MOST_WAITING]; /* the oldest first */
static size_t n_waiting, bytes_waiting;
static uint16_t session;
static uint8_t seq;
static unsigned silence, tries; /* of the oldest */
static long requests; /* sent, again or for the first time */
static uint32_t went_back; /* to this gen, and has not got further; ~0: no */

static void put(uint8_t **p, uint32_t value, int bytes)
{
    for (; bytes != 0; bytes--, value >>= 8) {
        *(*p)++ = (uint8_t)value;
    }
}

static uint32_t get(const uint8_t *p, int bytes)
{
    uint32_t value = 0;

    while (bytes-- != 0) {
        value = value << 8 | p[bytes];
    }
    return value;
}

static uint32_t crc32(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;

    while (n-- != 0) {
        crc = bp_crc32_byte(crc, *p++);
    }
    return ~crc;
}

static void transmit(const request_t *request)
{
    silence = 0;
    requests++;
    carry_frame(&to_board, request->line, request->n);
}

/* Send a request whose payload ends at p. */
static void ask(uint8_t type, uint32_t gen, uint32_t count, uint8_t *frame, uint8_t *p)
{
    request_t *request = &waiting[n_waiting++];
    uint8_t *code, *out;
    const uint8_t *end;

    frame[0] = type;
    frame[1] = ++seq;
    frame[2] = (uint8_t)session;
    frame[3] = (uint8_t)(session >> 8);
    put(&p, crc32(frame, (size_t)(p - frame)), 4);
    end = p;
    request->type = type;
    request->seq = seq;
    request->gen = gen;
    request->count = count;
    out = request->line;
    *out++ = 0;
    code = out++;
    for (p = frame; p != end; p++) {
        if (*p == 0) {
            *code = (uint8_t)(out - code);
            code = out++;
        } else {
            *out++ = *p;
        }
    }
    *code = (uint8_t)(out - code);
    *out++ = 0;
    request->n = (size_t)(out - request->line);
    bytes_waiting += request->n;
    transmit(request);
}

static void forget_all(void)
{
    n_waiting = 0;
    bytes_waiting = 0;
    tries = 0;
    went_back = ~0u;
}

static void forget_oldest(void)
{
    bytes_waiting -= waiting[0].n;
    n_waiting--;
    memmove(waiting, waiting + 1, n_waiting * sizeof waiting[0]);
    tries = 0;
}

#endif
