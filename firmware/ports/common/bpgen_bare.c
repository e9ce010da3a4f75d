/* bpgen_bare.c -- see bpgen_bare.h.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_bare.h"
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

/* From the linker's script. */
extern uint32_t bp_data_at[], bp_data[], bp_data_end[], bp_bss[], bp_bss_end[];

int main(void);

volatile bp_ring_t bp_ring;
static uint8_t reset_cause = BP_RESET_UNKNOWN;

/* Outlives a reset: bp_bare_run() leaves .noinit alone. */
static struct {
    uint32_t mark;
    uint16_t boots;
    uint16_t inverse;
} memory __attribute__((section(".noinit")));

#define MEMORY_MARK 0x42507265u

void bp_bare_run(void)
{
    const uint32_t *from = bp_data_at;
    volatile uint32_t *to;

    for (to = bp_data; to != bp_data_end; to++) {
        *to = *from++;
    }
    for (to = bp_bss; to != bp_bss_end; to++) {
        *to = 0;
    }
    main();
    Fault_Handler();
}

uint8_t bp_bare_count_start(void)
{
    uint8_t kept = memory.mark == MEMORY_MARK && (memory.boots ^ memory.inverse) == 0xFFFFu;

    memory.boots = (uint16_t)(kept ? memory.boots + 1 : 1);
    memory.inverse = (uint16_t)~memory.boots;
    memory.mark = MEMORY_MARK;
    return kept;
}

void bp_bare_set_cause(uint8_t cause) { reset_cause = cause; }

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = reset_cause;
    return memory.boots;
}

int16_t bp_port_read(void)
{
    uint16_t out = bp_ring.out;
    uint8_t byte;

    if (out == bp_ring.in) {
        return -1;
    }
    byte = bp_ring.bytes[out];
    bp_ring.out = (uint16_t)((out + 1u) % BP_RING_BYTES);
    return byte;
}

uint16_t bp_port_lost(void)
{
    uint32_t n = bp_ring.lost;

    return n < 0xFFFFu ? (uint16_t)n : 0xFFFFu;
}
