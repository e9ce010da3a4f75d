/* bpgen_stm32.c -- see bpgen_stm32.h. Registers as in RM0008, RM0041 and RM0090.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_chip.h"
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_stm32.h"
#include "bpgen_wire.h"

#define RCC_CSR BP_REGISTER(BP_RCC_CSR)
#define USART1_SR BP_REGISTER(BP_USART1)
#define USART1_DR BP_REGISTER(BP_USART1 + 0x4u)
#define USART1_BRR BP_REGISTER(BP_USART1 + 0x8u)
#define USART1_CR1 BP_REGISTER(BP_USART1 + 0xCu)
#define SYSTICK_CTRL BP_REGISTER(0xE000E010u)
#define SYSTICK_LOAD BP_REGISTER(0xE000E014u)
#define SYSTICK_VAL BP_REGISTER(0xE000E018u)
#define NVIC_ISER1 BP_REGISTER(0xE000E104u)

#define SR_OVERRUN 0x08u
#define SR_RECEIVED 0x20u
#define SR_ROOM 0x80u

#define TICKS_HZ 100u
#define USART1_INTERRUPT 37

void USART1_IRQHandler(void);

BP_VECTORS static const bp_vector_t irqs[USART1_INTERRUPT + 1] = {
    [USART1_INTERRUPT] = USART1_IRQHandler,
};

uint8_t bp_stm32_is_set(volatile uint32_t *flags, uint32_t flag, uint32_t tries)
{
    while ((*flags & flag) == 0) {
        if (--tries == 0) {
            return 0;
        }
    }
    return 1;
}

void bp_stm32_begin_cause(void)
{
    uint32_t flags = RCC_CSR;
    uint8_t kept = bp_bare_count_start();

    RCC_CSR = 0x1000000u; /* RMVF: clear the flags */
    if (flags & 0x8000000u) {
        bp_bare_set_cause(BP_RESET_POWER_ON); /* sets an STM32F4's flag of brown-out as well */
    } else if (flags & 0x2000000u) {
        bp_bare_set_cause(BP_RESET_BROWN_OUT); /* an STM32F1 has the flag above for both */
    } else if (flags & 0x60000000u) {
        bp_bare_set_cause(BP_RESET_WATCHDOG);
    } else if (flags & 0x10000000u) {
        bp_bare_set_cause(BP_RESET_SOFTWARE);
    } else if (flags & 0x4000000u) {
        bp_bare_set_cause(BP_RESET_RESET_PIN); /* set along with all others */
    } else if (!kept) {
        bp_bare_set_cause(BP_RESET_POWER_ON);
    }
}

void bp_stm32_begin_ticks(uint32_t hz)
{
    SYSTICK_LOAD = hz / TICKS_HZ - 1u;
    SYSTICK_VAL = 0;
    SYSTICK_CTRL = 7;
}

void bp_stm32_begin_line(uint32_t hz)
{
    USART1_BRR = (hz + BP_PORT_BAUD / 2) / BP_PORT_BAUD;
    USART1_CR1 = 0x202Cu; /* on, receive and its interrupt, transmit; 8 bits, no parity */
    NVIC_ISER1 = 1u << (USART1_INTERRUPT - 32);
}

void USART1_IRQHandler(void)
{
    uint32_t status = USART1_SR;
    uint8_t byte = (uint8_t)USART1_DR; /* after SR, it clears RXNE and ORE */

    if (status & SR_OVERRUN) {
        bp_ring.lost++;
    }
    if (status & SR_RECEIVED) {
        bp_ring_put(byte);
    }
}

void SysTick_Handler(void) { }

void bp_port_write(uint8_t byte)
{
    while ((USART1_SR & SR_ROOM) == 0) {
    }
    USART1_DR = byte;
}
