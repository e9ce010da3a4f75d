/* start_cortex_m.c -- vectors and start of any Cortex-M, for the harness.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "semihosting.h"

/* From the linker script. */
extern uint32_t bench_stack[], bench_data_at[], bench_data[], bench_data_end[], bench_bss[];
extern uint32_t bench_bss_end[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);

void Reset_Handler(void)
{
    const uint32_t *from = bench_data_at;
    volatile uint32_t *to;

#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u; /* CPACR: the floating-point unit */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    for (to = bench_data; to != bench_data_end; to++) {
        *to = *from++;
    }
    for (to = bench_bss; to != bench_bss_end; to++) {
        *to = 0;
    }
    main();
}

/* Ends the run with exit code 99. */
void Fault_Handler(void)
{
    static const uint32_t arguments[2] = {0x20026u, 99};

    (void)ask(0x20, arguments);
    for (;;) {
    }
}

static const struct {
    uint32_t *stack;
    void (*exceptions[6])(void);
} vectors __attribute__((section(".vectors"), used)) = {
    bench_stack,
    {
        Reset_Handler,
        Fault_Handler, /* NMI */
        Fault_Handler, /* HardFault */
        Fault_Handler, /* MemManage */
        Fault_Handler, /* BusFault */
        Fault_Handler, /* UsageFault */
    },
};
