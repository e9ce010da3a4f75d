/* bpgen_cortex_m.h -- what ports to a Cortex-M share; start.c has its vectors and its start.
 *
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_CORTEX_M_H
#define BPGEN_CORTEX_M_H

#include "bpgen_bare.h"

typedef void (*bp_vector_t)(void);

/* A port's table of interrupts has this, so that the linker puts it behind that of start.c. */
#define BP_VECTORS __attribute__((section(".vectors.irqs"), used))

/* Called at every tick of SysTick, where a port has it and turns it on. */
void SysTick_Handler(void);

/* Sleep until the next interrupt, unless received bytes wait: a pending one ends it though it is
 * masked.
 */
static inline void bp_cortex_m_sleep(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
    if (bp_ring_is_empty()) {
        __asm__ volatile("wfi");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

#endif
