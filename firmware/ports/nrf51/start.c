/* start.c -- vectors and start of nRF51822.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include <stdint.h>

/* From the linker script. */
extern uint32_t bp_stack_top[], bp_data_at[], bp_data[], bp_data_end[], bp_bss[], bp_bss_end[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);
void UART0_IRQHandler(void);
void TIMER1_IRQHandler(void);

void Reset_Handler(void)
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

/* What cannot go on starts again, and the host hears of it: AIRCR.SYSRESETREQ. */
void Fault_Handler(void)
{
    *(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u;
    for (;;) {
    }
}

#define NUMBER_OF_IRQS 10

typedef void (*vector_t)(void);

static const struct {
    uint32_t *stack;
    vector_t exceptions[15];
    vector_t irqs[NUMBER_OF_IRQS];
} vectors __attribute__((section(".vectors"), used)) = {
    bp_stack_top,
    {
        Reset_Handler,
        Fault_Handler, /* NMI */
        Fault_Handler, /* HardFault */
        0, 0, 0, 0, 0, 0, 0,
        Fault_Handler, /* SVCall */
        0, 0,
        Fault_Handler, /* PendSV */
        Fault_Handler, /* SysTick */
    },
    {[2] = UART0_IRQHandler, [9] = TIMER1_IRQHandler},
};
