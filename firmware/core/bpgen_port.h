/* bpgen_port.h -- what link and store need of a board: one small file per board implements it.
 *
 * docs/ports.md shows the same functions on vendors' libraries. None is called from an interrupt.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_PORT_H
#define BPGEN_PORT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Set up clock, serial line and interrupts. Called once, first. */
void bp_port_begin(void);

/* The next received byte, or -1 when there is none. Bytes wait in a buffer that holds at least
 * BP_LINK_WINDOW of them while the board computes.
 */
int16_t bp_port_read(void);

/* Send a byte, or queue it; waits for room. */
void bp_port_write(uint8_t byte);

/* Nothing to do until the next interrupt: may sleep, for some 10 ms at most, and not at all where
 * received bytes wait.
 */
void bp_port_idle(void);

/* How often the board has started, modulo 2^16 and as far as it can know, and why this time:
 * one of BP_RESET_* in bpgen_wire.h.
 */
uint16_t bp_port_reset(uint8_t *cause);

/* How many received bytes were lost so far, in hardware or for want of room; stops at 65535. */
uint16_t bp_port_lost(void);

#if BP_STORE_BYTES
/* Non-volatile memory: BP_STORE_BYTES bytes, 32,768 at most, in two areas of half, in units of
 * BP_STORE_UNIT bytes. Writing and erasing return 0 when done, -1 when the memory did not take it,
 * and 1 when to be called again: the memory is busy, or a part of the area is erased.
 *
 * Where BP_STORE_ERASES, a unit is written once after its area, 0 or 1, was erased to FFh. Erasing
 * does so whatever the area looks like, as a power cut may have left it half erased. Elsewhere
 * there is no bp_port_store_erase(), and writing spares a unit that holds the data already.
 *
 * Reading waits for a write that still runs.
 */
uint8_t bp_port_store_read(uint16_t address);
int8_t bp_port_store_write(uint16_t address, const uint8_t *unit);
int8_t bp_port_store_erase(uint8_t area);
#endif

/* Give p such that the compiler does not see where it points. Link and store reach their state
 * through it: AVR code is smaller with displacements from one pointer than with an address each.
 */
static inline void *bp_hidden(void *p)
{
#if defined(__AVR__)
    __asm__("" : "+r"(p));
#endif
    return p;
}

#ifdef __cplusplus
}
#endif

#endif
