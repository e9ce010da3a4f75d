/* start.c -- vectors and start of STM32F405.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include <stdint.h>

/* From the linker script. */
extern uint32_t bp_stack_top[], bp_data_at[], bp_data[], bp_data_end[], bp_bss[], bp_bss_end[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);
void SysTick_Handler(void);
void USART1_IRQHandler(void);

void Reset_Handler(void)
{
    const uint32_t *from = bp_data_at;
    volatile uint32_t *to;

    /* CPACR: the compiler may use the floating-point unit's registers to move data. */
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    for (to = bp_data; to != bp_data_end; to++) {
        *to = *from++;
    }
    for (to = bp_bss; to != bp_bss_end; to++) {
        *to = 0;
    }
    main();
    Fault_Handler();
}

/* What cannot go on starts again, and the host hears of it: AIRCR.SYSRESETREQ (PM0214). */
void Fault_Handler(void)
{
    *(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u;
    for (;;) {
    }
}

#define NUMBER_OF_IRQS 38

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
        Fault_Handler, /* MemManage */
        Fault_Handler, /* BusFault */
        Fault_Handler, /* UsageFault */
        0, 0, 0, 0,
        Fault_Handler, /* SVCall */
        0, 0,
        Fault_Handler, /* PendSV */
        SysTick_Handler,
    },
    {[37] = USART1_IRQHandler},
};
