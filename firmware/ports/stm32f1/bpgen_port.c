/* bpgen_port.c -- STM32F100 (VLDISCOVERY) and STM32F103 (Blue Pill): USART1 on PA9 (TX) and PA10.
 *
 * Registers as in RM0041 (F100) and RM0008 (F103), flash as in PM0063 and PM0075.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_stm32.h"

#define RCC_CR BP_REGISTER(0x40021000u)
#define RCC_CFGR BP_REGISTER(0x40021004u)
#define RCC_AHBENR BP_REGISTER(0x40021014u)
#define RCC_APB2ENR BP_REGISTER(0x40021018u)
#define FLASH_ACR BP_REGISTER(0x40022000u)
#define FLASH_KEYR BP_REGISTER(0x40022004u)
#define FLASH_SR BP_REGISTER(0x4002200Cu)
#define FLASH_CR BP_REGISTER(0x40022010u)
#define FLASH_AR BP_REGISTER(0x40022014u)
#define GPIOA_CRH BP_REGISTER(0x40010804u)
#define GPIOA_BSRR BP_REGISTER(0x40010810u)
#define DBGMCU_CR BP_REGISTER(0xE0042004u)

#define HSI_HZ 8000000u
#define HSE_ON 0x10000u
#define HSE_READY 0x20000u
#define PLL_ON 0x1000000u
#define PLL_READY 0x2000000u

/* PLLMUL from the 8 MHz crystal, and from the internal 8 MHz / 2 when it does not start. 64 MHz is
 * the most that the latter reaches.
 */
#if BP_PORT_CLOCK_HZ == 24000000
#define PLL_FROM_HSE 3u
#define PLL_FROM_HSI 6u
#define FLASH_TIMING 0u       /* the F100's flash has no wait states */
#define FLASH_END 0x08020000u /* 128 KB */
#define SLEEPS 1
#elif BP_PORT_CLOCK_HZ == 72000000
#define PLL_FROM_HSE 9u
#define PLL_FROM_HSI 16u
#define FLASH_TIMING 0x12u    /* prefetch, 2 wait states */
#define FLASH_END 0x08010000u /* 64 KB */
#define SLEEPS 0              /* asleep it could not be flashed: DBGMCU_CR is the debugger's only */
#else
#error "BP_PORT_CLOCK_HZ is 24000000 (STM32F100) or 72000000 (STM32F103)"
#endif

/* About 50 ms at 8 MHz, longer than any crystal needs. */
#define TRIES 50000u

/* Gives the clock that there is, in Hz. */
static uint32_t begin_clock(void)
{
    uint32_t source = 0, multiplier = PLL_FROM_HSI;

    if (RCC_CR == 0) { /* as in QEMU: there is nothing to set, not even an oscillator runs */
        return BP_PORT_CLOCK_HZ;
    }
    FLASH_ACR = FLASH_TIMING;
    RCC_CR |= HSE_ON;
    if (bp_stm32_is_set(&RCC_CR, HSE_READY, TRIES)) {
        source = 0x10000u;
        multiplier = PLL_FROM_HSE;
    }
    /* APB1 at half the clock: at most 36 MHz. USART1 is on APB2, at the whole. */
    RCC_CFGR = (multiplier - 2u) << 18 | source | 0x400u;
    RCC_CR |= PLL_ON;
    if (bp_stm32_is_set(&RCC_CR, PLL_READY, TRIES)) {
        RCC_CFGR |= 2u;
        while ((RCC_CFGR & 0xCu) != 8u) {
        }
        return multiplier * (source != 0 ? 8000000u : HSI_HZ / 2u);
    }
    return HSI_HZ;
}

void bp_port_begin(void)
{
    uint32_t hz;

    bp_stm32_begin_cause();
    hz = begin_clock();

#if SLEEPS
    bp_stm32_begin_ticks(hz);
    /* A debugger reaches a sleeping core, to flash it, with DBG_SLEEP and the DMA's clock only. */
    DBGMCU_CR |= 1u;
    RCC_AHBENR |= 1u;
#endif
    RCC_APB2ENR |= 0x4004u;                         /* USART1, port A */
    GPIOA_BSRR = 0x400u;                            /* PA10 pulled up */
    GPIOA_CRH = (GPIOA_CRH & 0xFFFFF00Fu) | 0x8B0u; /* PA9 alternate function, PA10 input */
    bp_stm32_begin_line(hz);
}

/* At most until SysTick's next tick. */
void bp_port_idle(void)
{
#if SLEEPS
    bp_cortex_m_sleep();
#endif
}

#if BP_STORE_BYTES
/* The last pages of the flash, which the linker script leaves out. The core stands still while one
 * is erased, for some 20 ms.
 */
#define PAGE 1024u
#define AREA (BP_STORE_BYTES / 2u)
#define STORE_AT (FLASH_END - BP_STORE_BYTES)

/* The page that an erasure has come to; out of its area where a new one begins. */
static uint32_t erasing;

static volatile uint16_t *store_at(uint32_t address)
{
    return (volatile uint16_t *)(STORE_AT + address);
}

/* Allow an operation on the flash, or one that is running to end. */
static void flash_begin(uint32_t operation)
{
    if (FLASH_CR & 0x80u) {
        FLASH_KEYR = 0x45670123u;
        FLASH_KEYR = 0xCDEF89ABu;
    }
    FLASH_SR = 0x34u; /* clear the flags of the operation before */
    FLASH_CR = operation;
}

static void flash_end(void)
{
    while (FLASH_SR & 1u) {
    }
    FLASH_CR = 0x80u; /* locked */
}

uint8_t bp_port_store_read(uint16_t address)
{
    return *((const volatile uint8_t *)STORE_AT + address);
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint16_t value = (uint16_t)(unit[0] | unit[1] << 8);

    erasing = 0;
    flash_begin(1u);
    *store_at(address) = value;
    flash_end();
    return *store_at(address) == value ? 0 : -1;
}

static uint8_t is_blank(uint32_t page)
{
    uint32_t i;

    for (i = 0; i < PAGE; i += 2) {
        if (*store_at(page + i) != 0xFFFFu) {
            return 0;
        }
    }
    return 1;
}

/* One page a call, blank or not. */
int8_t bp_port_store_erase(uint8_t area)
{
    uint32_t first = area * AREA, page = erasing;

    if (page - first >= AREA) { /* before it too: unsigned */
        page = first;
    }
    flash_begin(2u);
    FLASH_AR = STORE_AT + page;
    FLASH_CR |= 0x40u;
    flash_end();
    if (!is_blank(page)) {
        erasing = 0;
        return -1;
    }
    erasing = page + PAGE;
    return erasing == first + AREA ? 0 : 1;
}
#endif
