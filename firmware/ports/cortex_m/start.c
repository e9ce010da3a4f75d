/* start.c -- vectors and start of a Cortex-M.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_cortex_m.h"

extern uint32_t bp_stack_top[]; /* from the linker's script */

void Reset_Handler(void);

void Reset_Handler(void)
{
#ifdef __ARM_FP
    /* CPACR: the compiler may use the floating-point unit's registers to move data. */
    BP_REGISTER(0xE000ED88u) |= 0xF00000u;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    bp_bare_run();
}

/* AIRCR.SYSRESETREQ. */
void Fault_Handler(void)
{
    BP_REGISTER(0xE000ED0Cu) = 0x05FA0004u;
    for (;;) {
    }
}

void __attribute__((weak, alias("Fault_Handler"))) SysTick_Handler(void);

/* An ARMv6-M has neither MemManage nor BusFault nor UsageFault, and never reads their places. */
static const struct {
    uint32_t *stack;
    bp_vector_t exceptions[15];
} vectors __attribute__((section(".vectors"), used)) = {
    bp_stack_top,
    {
        Reset_Handler,
        Fault_Handler, /* NMI */
        Fault_Handler, /* HardFault */
        Fault_Handler, /* MemManage */
        Fault_Handler, /* BusFault */
        Fault_Handler, /* UsageFault */
        0, 0, 0, 0,
        Fault_Handler, /* SVCall */
        0, 0,
        Fault_Handler, /* PendSV */
        SysTick_Handler,
    },
};
