/* bpgen_bare.h -- what ports share that run without an operating system: received bytes on their
 * way from an interrupt to the program, and the count of starts.
 *
 * bpgen_bare.c has bp_port_read(), bp_port_reset() and bp_port_lost(); the port has the rest.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_BARE_H
#define BPGEN_BARE_H

#include <stdint.h>

#define BP_REGISTER(address) (*(volatile uint32_t *)(address))

#define BP_RING_BYTES 512u /* a power of two; one stays free */

typedef struct {
    uint16_t in;   /* the interrupt's */
    uint16_t out;  /* the program's */
    uint32_t lost; /* the interrupt's */
    uint8_t bytes[BP_RING_BYTES];
} bp_ring_t;

extern volatile bp_ring_t bp_ring;

/* Keep a received byte, or count it where there is no room. Only the interrupt calls this. */
static inline void bp_ring_put(uint8_t byte)
{
    uint16_t in = bp_ring.in, next = (uint16_t)((in + 1u) % BP_RING_BYTES);

    if (next == bp_ring.out) {
        bp_ring.lost++;
    } else {
        bp_ring.bytes[in] = byte;
        bp_ring.in = next;
    }
}

static inline uint8_t bp_ring_is_empty(void) { return bp_ring.in == bp_ring.out; }

/* Count this start; whether RAM has kept its content since the one before. Called once, first. */
uint8_t bp_bare_count_start(void);

/* What bp_port_reset() says: one of BP_RESET_*; BP_RESET_UNKNOWN without a call. */
void bp_bare_set_cause(uint8_t cause);

/* Fill RAM as C wants it, then run main(). The linker's script and the stack pointer are set. */
void bp_bare_run(void);

/* What cannot go on starts the board again, and the host hears of it. The port has this one. */
void Fault_Handler(void);

#endif
