/* bpgen_chip.h -- where an STM32F1 has what bpgen_stm32.c uses.
 *
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_CHIP_H
#define BPGEN_CHIP_H

#define BP_RCC_CSR 0x40021024u
#define BP_USART1 0x40013800u

#endif
