/* bpgen_port.c -- STM32F405 and its kin: USART1 on PA9 (TX) and PA10 (RX), 168 MHz.
 *
 * Registers as in RM0090. BP_PORT_CRYSTAL_HZ is the board's crystal, whole MHz: 25 on a Netduino
 * Plus 2, 8 on an STM32F4DISCOVERY. Without one that starts the internal oscillator feeds the PLL.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#ifndef BP_PORT_CRYSTAL_HZ
#define BP_PORT_CRYSTAL_HZ 25000000
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CR REGISTER(0x40023800u)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_APB2ENR REGISTER(0x40023844u)
#define RCC_CSR REGISTER(0x40023874u)
#define FLASH_ACR REGISTER(0x40023C00u)
#define FLASH_KEYR REGISTER(0x40023C04u)
#define FLASH_SR REGISTER(0x40023C0Cu)
#define FLASH_CR REGISTER(0x40023C10u)
#define GPIOA_MODER REGISTER(0x40020000u)
#define GPIOA_PUPDR REGISTER(0x4002000Cu)
#define GPIOA_AFRH REGISTER(0x40020024u)
#define USART1_SR REGISTER(0x40011000u)
#define USART1_DR REGISTER(0x40011004u)
#define USART1_BRR REGISTER(0x40011008u)
#define USART1_CR1 REGISTER(0x4001100Cu)
#define SYSTICK_CTRL REGISTER(0xE000E010u)
#define SYSTICK_LOAD REGISTER(0xE000E014u)
#define SYSTICK_VAL REGISTER(0xE000E018u)
#define NVIC_ISER1 REGISTER(0xE000E104u)
#define SCB_ICSR REGISTER(0xE000ED04u)
#define DBGMCU_CR REGISTER(0xE0042004u)

#define HSI_HZ 16000000u
#define HSE_ON 0x10000u
#define HSE_READY 0x20000u
#define PLL_ON 0x1000000u
#define PLL_READY 0x2000000u
#define PLL_FROM_HSE 0x400000u
#define FLASH_CACHES 0x700u /* prefetch, instructions, data */
#define FLASH_DATA_CACHE 0x400u
#define FLASH_DATA_CACHE_RESET 0x1000u
#define SR_OVERRUN 0x08u
#define SR_RECEIVED 0x20u
#define SR_ROOM 0x80u
#define ICSR_SYSTICK_PENDING 0x4000000u

#if BP_PORT_CLOCK_HZ != 168000000
#error "BP_PORT_CLOCK_HZ is 168000000"
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

/* About 50 ms at 16 MHz, longer than any crystal needs. */
static uint8_t is_set(volatile uint32_t *flags, uint32_t flag)
{
    uint32_t tries = 100000;

    while ((*flags & flag) == 0) {
        if (--tries == 0) {
            return 0;
        }
    }
    return 1;
}

static void begin_clock(void)
{
    uint32_t source = 0, divider = HSI_HZ / 1000000u;

    clock_hz = BP_PORT_CLOCK_HZ;
    if (RCC_CR == 0) { /* as in QEMU: there is nothing to set, not even an oscillator runs */
        return;
    }
    RCC_CR |= HSE_ON;
    if (is_set(&RCC_CR, HSE_READY)) {
        source = PLL_FROM_HSE;
        divider = BP_PORT_CRYSTAL_HZ / 1000000;
    }
    /* 1 MHz times 336, by 2; by 7 for USB's 48 MHz; bit 29 must stay. */
    RCC_PLLCFGR = 0x27000000u | source | 336u << 6 | divider;
    RCC_CFGR = 0x9400u; /* APB1 a quarter of the clock, APB2 half */
    RCC_CR |= PLL_ON;
    if (is_set(&RCC_CR, PLL_READY)) {
        FLASH_ACR = FLASH_CACHES | 5u; /* wait states of 168 MHz at 2.7 to 3.6 V */
        RCC_CFGR |= 2u;
        while ((RCC_CFGR & 0xCu) != 8u) {
        }
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
        reset_cause = BP_RESET_POWER_ON; /* sets the flag of brown-out as well */
    } else if (flags & 0x2000000u) {
        reset_cause = BP_RESET_BROWN_OUT;
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

    /* A debugger reaches a sleeping core, to flash it, with DBG_SLEEP and the DMA's clock only. */
    DBGMCU_CR |= 1u;
    RCC_AHB1ENR |= 0x200001u; /* DMA1, port A */
    RCC_APB2ENR |= 0x10u;     /* USART1 */
    GPIOA_AFRH = (GPIOA_AFRH & 0xFFFFF00Fu) | 0x770u;
    GPIOA_PUPDR = (GPIOA_PUPDR & 0xFFC3FFFFu) | 0x100000u; /* PA10 pulled up */
    GPIOA_MODER = (GPIOA_MODER & 0xFFC3FFFFu) | 0x280000u; /* alternate functions */
    USART1_BRR = (clock_hz / 2u + BP_PORT_BAUD / 2) / BP_PORT_BAUD;
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
    __asm__ volatile("cpsid i" ::: "memory");
    if (ring_in == ring_out) {
        __asm__ volatile("wfi");
    }
    __asm__ volatile("cpsie i" ::: "memory");
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
/* Sectors 2 and 3, which the linker script leaves out. The core stands still while one is erased,
 * for up to 0.8 s, and the clock with it.
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
