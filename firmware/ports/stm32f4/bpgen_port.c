/* bpgen_port.c -- STM32F405 and its kin: USART1 on PA9 (TX) and PA10 (RX), 168 MHz.
 *
 * Registers as in RM0090. BP_PORT_CRYSTAL_HZ is the board's crystal, whole MHz: 25 on a Netduino
 * Plus 2, 8 on an STM32F4DISCOVERY. Without one that starts the internal oscillator feeds the PLL.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_stm32.h"

#ifndef BP_PORT_CRYSTAL_HZ
#define BP_PORT_CRYSTAL_HZ 25000000
#endif

#define RCC_CR BP_REGISTER(0x40023800u)
#define RCC_PLLCFGR BP_REGISTER(0x40023804u)
#define RCC_CFGR BP_REGISTER(0x40023808u)
#define RCC_AHB1ENR BP_REGISTER(0x40023830u)
#define RCC_APB2ENR BP_REGISTER(0x40023844u)
#define FLASH_ACR BP_REGISTER(0x40023C00u)
#define FLASH_KEYR BP_REGISTER(0x40023C04u)
#define FLASH_SR BP_REGISTER(0x40023C0Cu)
#define FLASH_CR BP_REGISTER(0x40023C10u)
#define GPIOA_MODER BP_REGISTER(0x40020000u)
#define GPIOA_PUPDR BP_REGISTER(0x4002000Cu)
#define GPIOA_AFRH BP_REGISTER(0x40020024u)
#define DBGMCU_CR BP_REGISTER(0xE0042004u)

#define HSI_HZ 16000000u
#define HSE_ON 0x10000u
#define HSE_READY 0x20000u
#define PLL_ON 0x1000000u
#define PLL_READY 0x2000000u
#define PLL_FROM_HSE 0x400000u
#define FLASH_CACHES 0x700u /* prefetch, instructions, data */
#define FLASH_DATA_CACHE 0x400u
#define FLASH_DATA_CACHE_RESET 0x1000u

#if BP_PORT_CLOCK_HZ != 168000000
#error "BP_PORT_CLOCK_HZ is 168000000"
#endif

/* About 50 ms at 16 MHz, longer than any crystal needs. */
#define TRIES 100000u

/* Gives the clock that there is, in Hz. */
static uint32_t begin_clock(void)
{
    uint32_t source = 0, divider = HSI_HZ / 1000000u;

    if (RCC_CR == 0) { /* as in QEMU: there is nothing to set, not even an oscillator runs */
        return BP_PORT_CLOCK_HZ;
    }
    RCC_CR |= HSE_ON;
    if (bp_stm32_is_set(&RCC_CR, HSE_READY, TRIES)) {
        source = PLL_FROM_HSE;
        divider = BP_PORT_CRYSTAL_HZ / 1000000;
    }
    /* 1 MHz times 336, by 2; by 7 for USB's 48 MHz; bit 29 must stay. */
    RCC_PLLCFGR = 0x27000000u | source | 336u << 6 | divider;
    RCC_CFGR = 0x9400u; /* APB1 a quarter of the clock, APB2 half */
    RCC_CR |= PLL_ON;
    if (bp_stm32_is_set(&RCC_CR, PLL_READY, TRIES)) {
        FLASH_ACR = FLASH_CACHES | 5u; /* wait states of 168 MHz at 2.7 to 3.6 V */
        RCC_CFGR |= 2u;
        while ((RCC_CFGR & 0xCu) != 8u) {
        }
        return BP_PORT_CLOCK_HZ;
    }
    return HSI_HZ;
}

void bp_port_begin(void)
{
    uint32_t hz;

    bp_stm32_begin_cause();
    hz = begin_clock();
    bp_stm32_begin_ticks(hz);

    /* A debugger reaches a sleeping core, to flash it, with DBG_SLEEP and the DMA's clock only. */
    DBGMCU_CR |= 1u;
    RCC_AHB1ENR |= 0x200001u; /* DMA1, port A */
    RCC_APB2ENR |= 0x10u;     /* USART1 */
    GPIOA_AFRH = (GPIOA_AFRH & 0xFFFFF00Fu) | 0x770u;
    GPIOA_PUPDR = (GPIOA_PUPDR & 0xFFC3FFFFu) | 0x100000u; /* PA10 pulled up */
    GPIOA_MODER = (GPIOA_MODER & 0xFFC3FFFFu) | 0x280000u; /* alternate functions */
    bp_stm32_begin_line(hz / 2u);
}

/* At most until SysTick's next tick. */
void bp_port_idle(void) { bp_cortex_m_sleep(); }

#if BP_STORE_BYTES
/* Sectors 2 and 3, which the linker script leaves out. The core stands still while one is erased,
 * for up to 0.8 s.
 */
#define STORE_AT 0x08008000u
#define AREA (BP_STORE_BYTES / 2u)
#define FIRST_SECTOR 2u

#if BP_STORE_BYTES != 32768
#error "the store is two sectors of 16 KB"
#endif

static volatile uint32_t *store_at(uint32_t address)
{
    return (volatile uint32_t *)(STORE_AT + address);
}

/* Allow an operation on the flash, in words of 32 bits (2.7 to 3.6 V), or one that is running to
 * end. The data cache does not see what the flash does to itself, so it is emptied.
 */
static void flash_begin(uint32_t operation)
{
    if (FLASH_CR & 0x80000000u) {
        FLASH_KEYR = 0x45670123u;
        FLASH_KEYR = 0xCDEF89ABu;
    }
    FLASH_SR = 0xF3u; /* clear the flags of the operation before */
    FLASH_CR = 0x200u | operation;
}

static void flash_end(void)
{
    uint32_t settings = FLASH_ACR;

    while (FLASH_SR & 0x10000u) {
    }
    FLASH_CR = 0x80000000u; /* locked */
    FLASH_ACR = settings & ~FLASH_DATA_CACHE;
    FLASH_ACR = (settings & ~FLASH_DATA_CACHE) | FLASH_DATA_CACHE_RESET;
    FLASH_ACR = settings;
}

uint8_t bp_port_store_read(uint16_t address)
{
    return *((const volatile uint8_t *)STORE_AT + address);
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint32_t value = (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 |
                     (uint32_t)unit[3] << 24;

    flash_begin(1u);
    *store_at(address) = value;
    flash_end();
    return *store_at(address) == value ? 0 : -1;
}

int8_t bp_port_store_erase(uint8_t area)
{
    uint32_t i;

    flash_begin(2u | (FIRST_SECTOR + area) << 3);
    FLASH_CR |= 0x10000u;
    flash_end();
    for (i = 0; i < AREA; i += 4) {
        if (*store_at(area * AREA + i) != 0xFFFFFFFFu) {
            return -1;
        }
    }
    return 0;
}
#endif
