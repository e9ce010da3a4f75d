/* soak_board.h -- the board of soak.c, with a port in memory behind a noisy line.
 *
 * The line drops, flips, inserts and repeats bytes, repeats frames and delays replies.
 */
#ifndef SOAK_BOARD_H
#define SOAK_BOARD_H

#include <string.h>

#include "bpgen_link.h"

/* Not linked but included: a reset clears its variables. bp_link_begin() clears the link's. */
#include "bpgen_store.c"

#define SEED 0x9E3779B97F4A7C15u
#define FAULT_GAP 120u /* bytes between two faults of the line, on the average */

static uint64_t random_state = SEED;

static uint32_t random32(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 2685821657736338717u) >> 32);
}

static int one_in(uint32_t n)
{
    return random32() % n == 0;
}

/* ---- The line ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t bytes[4096];
    size_t n;
} line_t;

static line_t to_board, to_host, late, sent; /* `sent`: what the board writes in one poll */
static unsigned late_for; /* turns until `late` goes to the host */
static uint32_t until_fault = 50;
static long byte_faults;

static void append(line_t *line, uint8_t byte)
{
    if (line->n < sizeof line->bytes) {
        line->bytes[line->n++] = byte;
    }
}

/* Move bytes to a line through a noisy cable. */
static void carry(line_t *line, const uint8_t *bytes, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (until_fault-- != 0) {
            append(line, bytes[i]);
            continue;
        }
        until_fault = random32() % (2u * FAULT_GAP);
        byte_faults++;
        switch (random32() % 6) {
        case 0: /* lost */
            break;
        case 1:
            append(line, (uint8_t)(bytes[i] ^ 1u << random32() % 8));
            break;
        case 2:
            append(line, (uint8_t)random32());
            break;
        case 3: /* one more */
            append(line, bytes[i]);
            append(line, (uint8_t)random32());
            break;
        case 4:
            append(line, bytes[i]);
            append(line, bytes[i]);
            break;
        default:
            append(line, 0);
            break;
        }
    }
}

static void carry_frame(line_t *line, const uint8_t *bytes, size_t n)
{
    carry(line, bytes, n);
    if (one_in(100)) {
        carry(line, bytes, n);
    }
}

/* ---- The board ------------------------------------------------------------------------------ */

static uint8_t memory[BP_STORE_BYTES];
static uint16_t boots;
static size_t next_read;

int16_t bp_port_read(void)
{
    return next_read < to_board.n ? to_board.bytes[next_read++] : -1;
}

void bp_port_write(uint8_t byte) { append(&sent, byte); }
uint16_t bp_port_lost(void) { return 0; }

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = BP_RESET_RESET_PIN;
    return boots;
}

uint8_t bp_port_store_read(uint16_t address) { return memory[address]; }

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    memcpy(memory + address, unit, BP_STORE_UNIT);
    return 0;
}

int8_t bp_port_store_erase(uint8_t area)
{
    memset(memory + area * sizeof memory / 2, 255, sizeof memory / 2);
    return 0;
}

/* What the board wrote leaves it, now or late. */
static void deliver(void)
{
    if (late_for == 0 && sent.n != 0 && one_in(60)) {
        late = sent;
        late_for = 1 + random32() % 40;
    } else {
        carry_frame(&to_host, sent.bytes, sent.n);
    }
    sent.n = 0;
}

static void reset_board(void)
{
    size_t i;

    /* An answer may be cut where it is, and a request where it is on its way. */
    if (one_in(2)) {
        to_host.n -= to_host.n != 0 ? random32() % to_host.n : 0;
    }
    to_board.n = 0;
    memset(&job, 0, sizeof job);
    for (i = 0; i < sizeof bp_network; i++) {
        ((uint8_t *)&bp_network)[i] = (uint8_t)random32();
    }
    boots++;
    bp_link_begin();
    deliver();
}

#endif
