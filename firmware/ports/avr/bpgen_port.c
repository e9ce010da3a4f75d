/* bpgen_port.c -- ATmega328P (Uno) and ATmega2560 (Mega): USART0 and the EEPROM.
 *
 * Takes the interrupts of USART0's receiver and data register; all timers are free. Interrupts must
 * not be off for longer than two bytes take on the line, 170 us at 115200 baud.
 * SPDX-License-Identifier: 0BSD
 */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/wdt.h>

#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#if !defined(USART0_RX_vect) /* parts with one USART only */
#define USART0_RX_vect USART_RX_vect
#define USART0_UDRE_vect USART_UDRE_vect
#endif

/* With U2X a bit takes 8 * (UBRR + 1) cycles. Eight data bits bear a clock that is off by 2.5%:
 * the ATmega328P's data sheet allows 1.5% to 3% for the sum of both ends.
 */
#define UBRR_VALUE ((BP_PORT_CLOCK_HZ + 4L * BP_PORT_BAUD) / (8L * BP_PORT_BAUD) - 1)
#define REAL_BAUD (BP_PORT_CLOCK_HZ / (8L * (UBRR_VALUE + 1)))
#if UBRR_VALUE < 0 || UBRR_VALUE > 4095
#error "BP_PORT_BAUD is out of the USART's reach: choose another, such as 115200"
#elif 1000L * REAL_BAUD > 1025L * BP_PORT_BAUD || 1000L * REAL_BAUD < 975L * BP_PORT_BAUD
#error "the clock does not divide to BP_PORT_BAUD: choose 57600, 115200, 250000, 500000 or 1000000"
#endif

#define RX_SIZE 64u /* powers of two; one place stays free */
#define TX_SIZE 16u
#if BP_LINK_WINDOW > 63
#error "BP_LINK_WINDOW is larger than the receive buffer"
#endif

#define USART_ON ((1 << RXCIE0) | (1 << RXEN0) | (1 << TXEN0))

/* Each index has one writer: the interrupt or the program. */
static volatile uint8_t rx_ring[RX_SIZE];
static volatile uint8_t rx_head;
static volatile uint8_t rx_tail;
static volatile uint8_t tx_ring[TX_SIZE];
static volatile uint8_t tx_head;
static volatile uint8_t tx_tail;
static volatile uint16_t lost;

/* Outlive a reset, as nothing clears them; the complement tells them from RAM just powered on. */
static uint16_t boots __attribute__((section(".noinit")));
static uint16_t boots_complement __attribute__((section(".noinit")));
static uint8_t reset_flags __attribute__((section(".noinit")));

/* Runs before .data and .bss are set up: after a watchdog reset the watchdog stays on at 16 ms.
 * A boot loader has cleared MCUSR; optiboot from version 5 on leaves what was there in r2.
 */
void bp_port_early(void) __attribute__((naked, used, section(".init3")));
void bp_port_early(void)
{
    uint8_t passed;

    __asm__ volatile("mov %0, r2" : "=r"(passed));
    reset_flags = MCUSR != 0 ? MCUSR : passed;
    MCUSR = 0;
    wdt_disable();
}

/* In assembly, 48 cycles instead of the compiler's 64: at 1,000,000 baud a byte comes every 160.
 *     status = UCSR0A; byte = UDR0; if (status has DOR0) count();
 *     next = (rx_head + 1) % RX_SIZE;
 *     if (next == rx_tail) count(); else { rx_ring[rx_head] = byte; rx_head = next; }
 * where count() is `if (lost != 0xFFFF) lost++;`.
 */
ISR(USART0_RX_vect, ISR_NAKED)
{
    __asm__ volatile(
        "push r24\n\t"
        "in r24, %[sreg]\n\t"
        "push r24\n\t"
        "push r25\n\t"
        "push r30\n\t"
        "push r31\n\t"
        "lds r24, %[ucsra]\n\t" /* before UDR, which clears it */
        "lds r25, %[udr]\n\t"
        "lds r30, %[head]\n\t"
        "sbrc r24, %[dor]\n\t"
        "rcall 3f\n\t"
        "mov r24, r30\n\t"
        "subi r24, 0xFF\n\t"
        "andi r24, %[mask]\n\t"
        "lds r31, %[tail]\n\t"
        "cp r24, r31\n\t"
        "breq 2f\n\t"
        "sts %[head], r24\n\t"
        "ldi r31, 0\n\t"
        "subi r30, lo8(-(%[ring]))\n\t"
        "sbci r31, hi8(-(%[ring]))\n\t"
        "st Z, r25\n"
        "1:\tpop r31\n\t"
        "pop r30\n\t"
        "pop r25\n\t"
        "pop r24\n\t"
        "out %[sreg], r24\n\t"
        "pop r24\n\t"
        "reti\n"
        "2:\trcall 3f\n\t"
        "rjmp 1b\n"
        "3:\tlds r24, %[lost]\n\t"
        "lds r31, %[lost] + 1\n\t"
        "subi r24, 0xFF\n\t"
        "sbci r31, 0xFF\n\t"
        "breq 4f\n\t" /* it was 65535 */
        "sts %[lost], r24\n\t"
        "sts %[lost] + 1, r31\n"
        "4:\tret"
        :
        : [sreg] "I"(_SFR_IO_ADDR(SREG)), [ucsra] "n"(_SFR_MEM_ADDR(UCSR0A)),
          [udr] "n"(_SFR_MEM_ADDR(UDR0)), [dor] "I"(DOR0), [mask] "M"(RX_SIZE - 1u),
          [head] "i"(&rx_head), [tail] "i"(&rx_tail), [ring] "i"(rx_ring), [lost] "i"(&lost)
        : "memory");
}

ISR(USART0_UDRE_vect)
{
    uint8_t tail = tx_tail;

    /* Empty where bp_port_write() turned the interrupt on after its byte had left already. */
    if (tail == tx_head) {
        UCSR0B = USART_ON;
        return;
    }
    UDR0 = tx_ring[tail];
    tx_tail = (tail + 1u) & (TX_SIZE - 1u);
}

void bp_port_begin(void)
{
    if (boots != (uint16_t)~boots_complement || (reset_flags & (1 << PORF))) {
        boots = 0;
    }
    boots++;
    boots_complement = (uint16_t)~boots;

    UBRR0 = UBRR_VALUE;
    UCSR0A = 1 << U2X0;
    UCSR0C = (1 << UCSZ01) | (1 << UCSZ00);
    UCSR0B = USART_ON;
    sei();
}

int16_t bp_port_read(void)
{
    uint8_t tail = rx_tail;
    uint8_t byte;

    if (tail == rx_head) {
        return -1;
    }
    byte = rx_ring[tail];
    rx_tail = (tail + 1u) & (RX_SIZE - 1u);
    return byte;
}

void bp_port_write(uint8_t byte)
{
    uint8_t head = tx_head;
    uint8_t next = (head + 1u) & (TX_SIZE - 1u);

    while (next == tx_tail) {
    }
    tx_ring[head] = byte;
    tx_head = next;
    UCSR0B = USART_ON | (1 << UDRIE0);
}

/* Stays awake: nothing would end a sleep in time. */
void bp_port_idle(void)
{
}

uint16_t bp_port_reset(uint8_t *cause)
{
    uint8_t flags = reset_flags;

    /* Power-on raises the brown-out's flag as well. What an old boot loader leaves in r2 is not
     * known: no reset has other flags than these four.
     */
    if (flags > 0x0Fu) {
        *cause = BP_RESET_UNKNOWN;
    } else if (flags & (1 << PORF)) {
        *cause = BP_RESET_POWER_ON;
    } else if (flags & (1 << BORF)) {
        *cause = BP_RESET_BROWN_OUT;
    } else if (flags & (1 << WDRF)) {
        *cause = BP_RESET_WATCHDOG;
    } else if (flags & (1 << EXTRF)) {
        *cause = BP_RESET_RESET_PIN;
    } else {
        *cause = BP_RESET_UNKNOWN;
    }
    return boots;
}

uint16_t bp_port_lost(void)
{
    uint8_t sreg = SREG;
    uint16_t count;

    cli();
    count = lost;
    SREG = sreg;
    return count;
}

#if BP_STORE_BYTES
uint8_t bp_port_store_read(uint16_t address)
{
    while (EECR & (1 << EEPE)) {
    }
    EEAR = address;
    EECR |= 1 << EERE;
    return EEDR;
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint8_t sreg;

    if (EECR & (1 << EEPE)) {
        return 1;
    }
    /* A byte that stays as it is costs neither 3.4 ms nor life. */
    if (bp_port_store_read(address) == *unit) {
        return 0;
    }
    EEDR = *unit;
    sreg = SREG;
    cli(); /* EEPE must follow within four cycles */
    EECR |= 1 << EEMPE;
    EECR |= 1 << EEPE;
    SREG = sreg;
    return 0;
}
#endif
