/* bpgen_stm32.h -- what ports to STM32F1 and STM32F4 share: USART1, SysTick to end a sleep, the cause
 * of a reset. The port's bpgen_chip.h says where the registers are.
 *
 * bpgen_stm32.c has bp_port_write().
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_STM32_H
#define BPGEN_STM32_H

#include "bpgen_cortex_m.h"

/* Whether one of the register's flags is set before that many tries. */
uint8_t bp_stm32_is_set(volatile uint32_t *flags, uint32_t flag, uint32_t tries);

/* Find out why the board started, and count it. Called first. */
void bp_stm32_begin_cause(void);

/* Let SysTick end a sleep every 10 ms, at `hz` of the core's clock. */
void bp_stm32_begin_ticks(uint32_t hz);

/* Turn USART1 on, whose clock is `hz`; it has its pins and its clock. */
void bp_stm32_begin_line(uint32_t hz);

#endif
