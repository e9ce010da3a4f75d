/* bpgen_port.c -- STM32F100 (VLDISCOVERY) and STM32F103 (Blue Pill): USART1 on PA9 (TX) and PA10.
 *
 * Registers as in RM0041 (F100) and RM0008 (F103), flash as in PM0063 and PM0075.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CR REGISTER(0x40021000u)
#define RCC_CFGR REGISTER(0x40021004u)
#define RCC_AHBENR REGISTER(0x40021014u)
#define RCC_APB2ENR REGISTER(0x40021018u)
#define RCC_CSR REGISTER(0x40021024u)
#define FLASH_ACR REGISTER(0x40022000u)
#define FLASH_KEYR REGISTER(0x40022004u)
#define FLASH_SR REGISTER(0x4002200Cu)
#define FLASH_CR REGISTER(0x40022010u)
#define FLASH_AR REGISTER(0x40022014u)
#define GPIOA_CRH REGISTER(0x40010804u)
#define GPIOA_BSRR REGISTER(0x40010810u)
#define USART1_SR REGISTER(0x40013800u)
#define USART1_DR REGISTER(0x40013804u)
#define USART1_BRR REGISTER(0x40013808u)
#define USART1_CR1 REGISTER(0x4001380Cu)
#define SYSTICK_CTRL REGISTER(0xE000E010u)
#define SYSTICK_LOAD REGISTER(0xE000E014u)
#define SYSTICK_VAL REGISTER(0xE000E018u)
#define NVIC_ISER1 REGISTER(0xE000E104u)
#define SCB_ICSR REGISTER(0xE000ED04u)
#define DBGMCU_CR REGISTER(0xE0042004u)

#define HSI_HZ 8000000u
#define HSE_ON 0x10000u
#define HSE_READY 0x20000u
#define PLL_ON 0x1000000u
#define PLL_READY 0x2000000u
#define SR_OVERRUN 0x08u
#define SR_RECEIVED 0x20u
#define SR_ROOM 0x80u
#define ICSR_SYSTICK_PENDING 0x4000000u

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

#define TICKS_HZ 100u
#define RING 512u /* bytes, a power of two; one stays free */

void USART1_IRQHandler(void);
void SysTick_Handler(void);

static volatile uint8_t ring[RING];
static volatile uint16_t ring_in; /* the interrupt's; ring_out is the reader's */
static volatile uint16_t ring_out;
static volatile uint32_t lost;
static volatile uint32_t ticks; /* of SysTick */
static uint32_t last_clock;
static uint32_t clock_hz;
static uint8_t reset_cause = BP_RESET_UNKNOWN;

/* Outlives a reset: start.c leaves .noinit alone. */
static struct {
    uint32_t mark;
    uint16_t boots;
    uint16_t inverse;
} memory __attribute__((section(".noinit")));

#define MEMORY_MARK 0x42507265u

/* About 50 ms at 8 MHz, longer than any crystal needs. */
static uint8_t is_set(volatile uint32_t *flags, uint32_t flag)
{
    uint32_t tries = 50000;

    while ((*flags & flag) == 0) {
        if (--tries == 0) {
            return 0;
        }
    }
    return 1;
}

static void begin_clock(void)
{
    uint32_t source = 0, multiplier = PLL_FROM_HSI;

    clock_hz = BP_PORT_CLOCK_HZ;
    if (RCC_CR == 0) { /* as in QEMU: there is nothing to set, not even an oscillator runs */
        return;
    }
    FLASH_ACR = FLASH_TIMING;
    RCC_CR |= HSE_ON;
    if (is_set(&RCC_CR, HSE_READY)) {
        source = 0x10000u;
        multiplier = PLL_FROM_HSE;
    }
    /* APB1 at half the clock: at most 36 MHz. USART1 is on APB2, at the whole. */
    RCC_CFGR = (multiplier - 2u) << 18 | source | 0x400u;
    RCC_CR |= PLL_ON;
    if (is_set(&RCC_CR, PLL_READY)) {
        RCC_CFGR |= 2u;
        while ((RCC_CFGR & 0xCu) != 8u) {
        }
        clock_hz = multiplier * (source != 0 ? 8000000u : HSI_HZ / 2u);
    } else {
        clock_hz = HSI_HZ;
    }
}

static void begin_reset_cause(void)
{
    uint32_t flags = RCC_CSR;
    uint8_t kept = memory.mark == MEMORY_MARK && (memory.boots ^ memory.inverse) == 0xFFFFu;

    RCC_CSR = 0x1000000u; /* RMVF: clear the flags */
    if (flags & 0x8000000u) {
        reset_cause = BP_RESET_POWER_ON; /* or brown-out: one flag for both */
    } else if (flags & 0x60000000u) {
        reset_cause = BP_RESET_WATCHDOG;
    } else if (flags & 0x10000000u) {
        reset_cause = BP_RESET_SOFTWARE;
    } else if (flags & 0x4000000u) {
        reset_cause = BP_RESET_RESET_PIN; /* set along with all others */
    } else if (!kept) {
        reset_cause = BP_RESET_POWER_ON;
    }
    memory.boots = (uint16_t)(kept ? memory.boots + 1 : 1);
    memory.inverse = (uint16_t)~memory.boots;
    memory.mark = MEMORY_MARK;
}

void bp_port_begin(void)
{
    begin_reset_cause();
    begin_clock();

    SYSTICK_LOAD = clock_hz / TICKS_HZ - 1u;
    SYSTICK_VAL = 0;
    SYSTICK_CTRL = 7;

#if SLEEPS
    /* A debugger reaches a sleeping core, to flash it, with DBG_SLEEP and the DMA's clock only. */
    DBGMCU_CR |= 1u;
    RCC_AHBENR |= 1u;
#endif
    RCC_APB2ENR |= 0x4004u;                         /* USART1, port A */
    GPIOA_BSRR = 0x400u;                            /* PA10 pulled up */
    GPIOA_CRH = (GPIOA_CRH & 0xFFFFF00Fu) | 0x8B0u; /* PA9 alternate function, PA10 input */
    USART1_BRR = (clock_hz + BP_PORT_BAUD / 2) / BP_PORT_BAUD;
    USART1_CR1 = 0x202Cu; /* on, receive and its interrupt, transmit; 8 bits, no parity */
    NVIC_ISER1 = 1u << 5; /* USART1's interrupt is 37 */
}

void USART1_IRQHandler(void)
{
    uint32_t status = USART1_SR;
    uint8_t byte = (uint8_t)USART1_DR; /* after SR, it clears RXNE and ORE */
    uint16_t next = (uint16_t)((ring_in + 1u) % RING);

    if (status & SR_OVERRUN) {
        lost++;
    }
    if ((status & SR_RECEIVED) == 0) {
        return;
    }
    if (next == ring_out) {
        lost++;
        return;
    }
    ring[ring_in] = byte;
    ring_in = next;
}

void SysTick_Handler(void) { ticks++; }

int16_t bp_port_read(void)
{
    uint8_t byte;

    if (ring_in == ring_out) {
        return -1;
    }
    byte = ring[ring_out];
    ring_out = (uint16_t)((ring_out + 1u) % RING);
    return byte;
}

void bp_port_write(uint8_t byte)
{
    while ((USART1_SR & SR_ROOM) == 0) {
    }
    USART1_DR = byte;
}

uint32_t bp_port_clock(void)
{
    uint32_t count, cycles, now;

    __asm__ volatile("cpsid i" ::: "memory");
    count = ticks;
    cycles = SYSTICK_LOAD - SYSTICK_VAL;
    if (SCB_ICSR & ICSR_SYSTICK_PENDING) { /* began anew, but is not counted yet */
        count++;
        cycles = SYSTICK_LOAD - SYSTICK_VAL;
    }
    __asm__ volatile("cpsie i" ::: "memory");
    now = count * (1000000u / TICKS_HZ) + cycles / (clock_hz / 1000000u);
    /* An emulator on a busy machine can miss a tick: then stand still rather than run backwards. */
    if (last_clock - now > 1000000u) {
        last_clock = now;
    }
    return last_clock;
}

/* Until the next interrupt, at most a tick: a pending one ends it though it is masked. */
void bp_port_idle(void)
{
#if SLEEPS
    __asm__ volatile("cpsid i" ::: "memory");
    if (ring_in == ring_out) {
        __asm__ volatile("wfi");
    }
    __asm__ volatile("cpsie i" ::: "memory");
#endif
}

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = reset_cause;
    return memory.boots;
}

uint16_t bp_port_lost(void)
{
    uint32_t n = lost;

    return n < 0xFFFFu ? (uint16_t)n : 0xFFFFu;
}

#if BP_STORE_BYTES
/* The last pages of the flash, which the linker script leaves out. The core stands still while one
 * is erased, for some 20 ms, and the clock with it.
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
