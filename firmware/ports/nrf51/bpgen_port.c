/* bpgen_port.c -- nRF51822, as on the BBC micro:bit: UART0 to its USB chip, TX P0.24, RX P0.25.
 *
 * Registers as in the nRF51 Series Reference Manual, version 3.0.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_cortex_m.h"
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#define PIN_TX 24u
#define PIN_RX 25u

#define POWER_RESETREAS BP_REGISTER(0x40000400u)
#define CLOCK_HFCLKSTART BP_REGISTER(0x40000000u)
#define CLOCK_HFCLKSTARTED BP_REGISTER(0x40000100u)
#define UART_STARTRX BP_REGISTER(0x40002000u)
#define UART_STARTTX BP_REGISTER(0x40002008u)
#define UART_RXDRDY BP_REGISTER(0x40002108u)
#define UART_TXDRDY BP_REGISTER(0x4000211Cu)
#define UART_ERROR BP_REGISTER(0x40002124u)
#define UART_INTENSET BP_REGISTER(0x40002304u)
#define UART_ERRORSRC BP_REGISTER(0x40002480u)
#define UART_ENABLE BP_REGISTER(0x40002500u)
#define UART_PSELTXD BP_REGISTER(0x4000250Cu)
#define UART_PSELRXD BP_REGISTER(0x40002514u)
#define UART_RXD BP_REGISTER(0x40002518u)
#define UART_TXD BP_REGISTER(0x4000251Cu)
#define UART_BAUDRATE BP_REGISTER(0x40002524u)
#define TIMER1_START BP_REGISTER(0x40009000u)
#define TIMER1_COMPARE BP_REGISTER(0x40009140u)
#define TIMER1_SHORTS BP_REGISTER(0x40009200u)
#define TIMER1_INTENSET BP_REGISTER(0x40009304u)
#define TIMER1_PRESCALER BP_REGISTER(0x40009510u)
#define TIMER1_CC BP_REGISTER(0x40009540u)
#define NVMC_READY BP_REGISTER(0x4001E400u)
#define NVMC_CONFIG BP_REGISTER(0x4001E504u)
#define NVMC_ERASEPAGE BP_REGISTER(0x4001E508u)
#define GPIO_OUTSET BP_REGISTER(0x50000508u)
#define GPIO_PIN_CNF(pin) BP_REGISTER(0x50000700u + 4u * (pin))
#define NVIC_ISER BP_REGISTER(0xE000E100u)

/* In units of 16 MHz / 2^32; only the high 20 bits count. */
#define BAUDRATE ((uint32_t)((((uint64_t)BP_PORT_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u))

#define UART0_INTERRUPT 2
#define TIMER1_INTERRUPT 9

void UART0_IRQHandler(void);
void TIMER1_IRQHandler(void);

BP_VECTORS static const bp_vector_t irqs[TIMER1_INTERRUPT + 1] = {
    [UART0_INTERRUPT] = UART0_IRQHandler,
    [TIMER1_INTERRUPT] = TIMER1_IRQHandler,
};

static void begin_reset_cause(void)
{
    uint32_t reasons = POWER_RESETREAS;
    uint8_t kept = bp_bare_count_start();

    POWER_RESETREAS = reasons; /* ones clear */
    if (!kept || reasons == 0) {
        bp_bare_set_cause(BP_RESET_POWER_ON); /* or brown-out: neither gives a reason */
    } else if (reasons & 2u) {
        bp_bare_set_cause(BP_RESET_WATCHDOG);
    } else if (reasons & 0xCu) {
        bp_bare_set_cause(BP_RESET_SOFTWARE); /* asked for, or a lock-up */
    } else if (reasons & 1u) {
        bp_bare_set_cause(BP_RESET_RESET_PIN);
    }
}

void bp_port_begin(void)
{
    uint32_t tries = 100000; /* some 30 ms; the crystal needs 1 */

    begin_reset_cause();

    /* The UART's rate is only right with the crystal. */
    CLOCK_HFCLKSTARTED = 0;
    CLOCK_HFCLKSTART = 1;
    while (CLOCK_HFCLKSTARTED == 0 && --tries != 0) {
    }

    GPIO_OUTSET = 1u << PIN_TX;
    GPIO_PIN_CNF(PIN_TX) = 1;   /* output */
    GPIO_PIN_CNF(PIN_RX) = 0xC; /* input, pulled up */
    UART_PSELTXD = PIN_TX;
    UART_PSELRXD = PIN_RX;
    UART_BAUDRATE = BAUDRATE;
    UART_ENABLE = 4;
    UART_STARTRX = 1;
    UART_STARTTX = 1;
    UART_INTENSET = 0x204; /* RXDRDY, ERROR */
    NVIC_ISER = 1u << UART0_INTERRUPT;

    /* 16 bits, as after a reset: ends a sleep every 10 ms. After the UART: if bytes came before it,
     * QEMU looks at them when a timer starts.
     */
    TIMER1_PRESCALER = 4; /* 1 MHz */
    TIMER1_CC = 10000;
    TIMER1_SHORTS = 1; /* from 0 again */
    TIMER1_INTENSET = 0x10000u;
    NVIC_ISER = 1u << TIMER1_INTERRUPT;
    TIMER1_START = 1;
}

void UART0_IRQHandler(void)
{
    while (UART_RXDRDY != 0) {
        UART_RXDRDY = 0; /* before RXD, whose reading may raise it again */
        bp_ring_put((uint8_t)UART_RXD);
    }
    if (UART_ERROR != 0) {
        uint32_t errors = UART_ERRORSRC;

        UART_ERROR = 0;
        UART_ERRORSRC = errors; /* ones clear */
        if (errors & 1u) {
            bp_ring.lost++;
        }
    }
}

void TIMER1_IRQHandler(void) { TIMER1_COMPARE = 0; }

void bp_port_write(uint8_t byte)
{
    UART_TXDRDY = 0;
    UART_TXD = byte;
    while (UART_TXDRDY == 0) {
    }
}

/* At most until the next tick of TIMER1. */
void bp_port_idle(void) { bp_cortex_m_sleep(); }

#if BP_STORE_BYTES
/* The last pages of the flash, which the linker script leaves out. The core stands still while one
 * is erased, for some 22 ms.
 */
#define PAGE 1024u
#define AREA (BP_STORE_BYTES / 2u)
#define FLASH_END 0x40000u /* 256 KB */
#define STORE_AT (FLASH_END - BP_STORE_BYTES)

/* The page that an erasure has come to; out of its area where a new one begins. */
static uint32_t erasing;

static volatile uint32_t *store_at(uint32_t address)
{
    return (volatile uint32_t *)(STORE_AT + address);
}

/* Read only (0), write (1) or erase (2). */
static void flash(uint32_t mode)
{
    while (NVMC_READY == 0) {
    }
    NVMC_CONFIG = mode;
}

uint8_t bp_port_store_read(uint16_t address)
{
    return *((const volatile uint8_t *)STORE_AT + address);
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint32_t value = (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 |
                     (uint32_t)unit[3] << 24;

    erasing = 0;
    flash(1);
    *store_at(address) = value;
    flash(0);
    return *store_at(address) == value ? 0 : -1;
}

static uint8_t is_blank(uint32_t page)
{
    uint32_t i;

    for (i = 0; i < PAGE; i += 4) {
        if (*store_at(page + i) != 0xFFFFFFFFu) {
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
    flash(2);
    NVMC_ERASEPAGE = STORE_AT + page;
    flash(0);
    if (!is_blank(page)) {
        erasing = 0;
        return -1;
    }
    erasing = page + PAGE;
    return erasing == first + AREA ? 0 : 1;
}
#endif
