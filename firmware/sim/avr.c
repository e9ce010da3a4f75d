/* avr.c -- runs the firmware of an Arduino Uno or Mega behind a pseudo-terminal, cycle by cycle.
 *
 *     avr_sim -m atmega328p -f 16000000 --pty PATH [options] image.elf
 *     avr_sim -m atmega328p -f 16000000 --rx in.bin --tx out.bin [options] image.elf
 *
 *     --pty PATH        make PATH a link to the port, and print READY PATH -> /dev/pts/N
 *     --rx, --tx FILE   instead: what is sent to the board without a pause, and what comes back;
 *                       the same files give the same run
 *     --pace            in real time; otherwise as fast as it goes, slower while nothing happens
 *     --reset-on-open   opening the port resets the board, as the control lines of an Uno do
 *     --boot-ms N       a boot loader takes what arrives for N ms after an external reset
 *     --eeprom FILE     the contents of the EEPROM, created from the image's .eeprom section
 *     --stats FILE      what was counted, as JSON, at the end
 *     --count SYMBOL    cycles of each call of a function; may be repeated
 *     --trace FILE      each byte on the line with the cycle at which its stop bit ended
 *     --max-cycles N    the end, with exit code 124
 *
 * SIGUSR1 presses reset, SIGTERM cuts the power. The firmware ends the run with an exit code by
 * writing it to GPIOR2, or with 0 by sleeping with interrupts off. A crash is 99: an illegal
 * opcode, a jump outside the code, an access beyond RAM.
 *
 * Core and timers are simavr's; USART0, EEPROM, interrupts and resets are done here as the data
 * sheets say, because a firmware that only works without overruns and waits is not tested.
 *
 * Links libsimavr, which is GPL-3, and so is this program. It is a tool of the tests: no firmware
 * that it runs and nothing that bpgen generates contains a line of it.
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "avr_sim.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One command compiles it all: gcc -O2 avr.c -lsimavr -lelf */
#include "avr_chip.c"
#include "avr_host.c"
#include "avr_meter.c"

enum {
    MCUSR = 0x54,
    PORF = 0x01,
    EXTRF = 0x02,
    GPIOR2 = 0x4B,
    SLICE = 2000, /* cycles between looks at host and signals, 125 us */
    LONGEST_PERIOD = 4 * SLICE, /* of a loop that waits */
    RETI = 0x9518,
};
enum { MAX_RAM = 0x10000, MAX_VECTORS = 64, WAKE_UP = 4, START_UP_MS = 65 };

static const uint64_t SECOND = 1000000000u;
static const uint64_t POLL_WAIT = 2000000u; /* ns for each SLICE: some 3% of a core */
static const uint64_t LONGEST_WAIT = 20000000u; /* ns; then look at signals and the parent */

avr_t *avr;

static elf_firmware_t firmware;
static bool running = true;
static int exit_code;
static const char *crash_reason;
static uint32_t crash_pc;
static volatile sig_atomic_t power_off, reset_button;
static pid_t parent;

static bool pace_always, reset_on_open;
static uint64_t boot_ms;
static uint64_t max_cycles = NEVER;

static avr_int_vector_t *vectors[MAX_VECTORS]; /* lower numbers first, as they are served */
static int vector_count;
static bool look; /* an interrupt may have become due */
static bool hold; /* no interrupt before the next instruction */

void stop(int code)
{
    if (running) {
        running = false;
        exit_code = code;
    }
}

_Noreturn void refuse(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("avr_sim: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_USAGE);
}

bool asked_to_end(void)
{
    return power_off || getppid() != parent;
}

static void crash(const char *reason)
{
    if (!crash_reason) {
        crash_reason = reason;
        crash_pc = avr->pc;
        stop(EXIT_CRASH);
    }
}

/* simavr only logs an illegal opcode or an address beyond RAM, and goes on. What it says lies
 * between two escape sequences for colours.
 */
static void log_error(avr_t *core, const int level, const char *format, va_list arguments)
{
    static char text[200];
    char *begin;

    (void)core;
    if (level == LOG_ERROR && running) {
        vsnprintf(text, sizeof text, format, arguments);
        begin = strstr(text, "*** ");
        begin = begin ? begin + 4 : text;
        begin[strcspn(begin, "\n\033")] = 0;
        crash(begin);
    }
}

static void write_gpior2(avr_t *core, avr_io_addr_t address, uint8_t value, void *unused)
{
    (void)unused;
    core->data[address] = value;
    stop(value);
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

static bool bit(avr_regbit_t where)
{
    return avr->data[where.reg] >> where.bit & where.mask;
}

static void sort_vectors(void)
{
    for (int i = 0; i < avr->interrupts.vector_count; i++) {
        avr_int_vector_t *vector = avr->interrupts.vector[i];
        int place = vector_count++;

        for (; place > 0 && vectors[place - 1]->vector > vector->vector; place--) {
            vectors[place] = vectors[place - 1];
        }
        vectors[place] = vector;
    }
}

/* Serve the first interrupt that is enabled and raised. */
static void serve_interrupts(void)
{
    for (int i = 0; i < vector_count; i++) {
        avr_int_vector_t *vector = vectors[i];

        if (!bit(vector->enable) || !(vector->raised.reg ? bit(vector->raised) : vector->pending)) {
            continue;
        }
        if (avr->state == cpu_Sleeping) {
            avr->state = cpu_Running;
            avr->cycle += WAKE_UP;
        }
        _avr_push_addr(avr, avr->pc);
        avr->sreg[S_I] = 0;
        avr->pc = (avr_flashaddr_t)vector->vector * avr->vector_size;
        avr->cycle += avr->address_size == 3 ? 5 : 4;
        avr_clear_interrupt(avr, vector);
        return;
    }
    look = false;
}

/* ---- Time ------------------------------------------------------------------------------------ */

static uint64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t to_ns(uint64_t cycles)
{
    return (uint64_t)((double)cycles * 1e9 / avr->frequency);
}

static uint64_t to_cycles(uint64_t ns)
{
    return (uint64_t)((double)ns * avr->frequency / 1e9);
}

/* The first cycle at which anything but an instruction changes the state of the chip. */
static uint64_t next_event(void)
{
    uint64_t next = chip_next < max_cycles ? chip_next : max_cycles;
    const avr_cycle_timer_slot_t *timer = avr->cycle_timers.timer;

    return timer && timer->when < next ? timer->when : next;
}

/* Real time and cycle from which pacing counts, set anew where the machine was too slow. */
static uint64_t start_ns, start_cycle;
static bool pacing;

static void pace(bool wanted)
{
    uint64_t simulated, real, now = wanted ? wall_ns() : 0;

    if (wanted && !pacing) {
        start_ns = now;
        start_cycle = avr->cycle;
    }
    pacing = wanted;
    if (!wanted) {
        return;
    }
    simulated = to_ns(avr->cycle - start_cycle);
    real = now - start_ns;
    if (real > simulated + SECOND / 50) {
        start_ns = now;
        start_cycle = avr->cycle;
    }
    while (simulated > real && !power_off && !reset_button) {
        host_wait(simulated - real < LONGEST_WAIT ? simulated - real : LONGEST_WAIT);
        if (!pace_always && host_has_bytes()) {
            return;
        }
        real = wall_ns() - start_ns;
    }
}

/* ---- Waiting firmware ---------------------------------------------------------------------------
 *
 * Most firmware waits in a loop. When all of its state, registers and RAM, is the same at two
 * passes of one instruction, and it has read nothing in between that depends on time, it will be
 * the same after each further period, until something happens: whole periods can be skipped, and no
 * cycle is counted wrong. Meanwhile this process sleeps.
 */

static struct {
    bool valid;
    bool timed; /* a register was read that may depend on time */
    uint32_t pc;
    uint64_t cycle;
    uint64_t instructions;
    uint8_t sreg[8];
    uint8_t data[MAX_RAM];
} noted;

static avr_io_read_t timed_reads[MAX_IOs];

static uint8_t read_timed(avr_t *core, avr_io_addr_t address, void *parameter)
{
    noted.timed = true;
    return timed_reads[AVR_DATA_TO_IO(address)](core, address, parameter);
}

static void watch_timed_reads(void)
{
    for (int i = 0; i < MAX_IOs; i++) {
        avr_io_read_t *read = &avr->io[i].r.c;

        if (*read && i != AVR_DATA_TO_IO(0xC6)) { /* UDR0 */
            timed_reads[i] = *read;
            *read = read_timed;
        }
    }
}

static void forget_state(void)
{
    if (noted.valid) {
        marks[noted.pc / 2] &= (uint8_t)~MARK_STATE;
        noted.valid = false;
    }
}

static void note_state(void)
{
    forget_state();
    noted.valid = true;
    noted.timed = false;
    noted.pc = avr->pc;
    noted.cycle = avr->cycle;
    noted.instructions = instructions;
    memcpy(noted.sreg, avr->sreg, sizeof noted.sreg);
    memcpy(noted.data, avr->data, avr->ramend + 1u);
    marks[noted.pc / 2] |= MARK_STATE;
}

static bool is_noted_state(void)
{
    return noted.cycle != avr->cycle && !noted.timed && !hold &&
           memcmp(noted.data, avr->data, 32) == 0 &&
           memcmp(noted.sreg, avr->sreg, sizeof noted.sreg) == 0 &&
           memcmp(noted.data, avr->data, avr->ramend + 1u) == 0;
}

/* Skip periods of that many cycles and instructions up to the next event; with a pty in real time,
 * until the host does something.
 */
static void idle(uint64_t period, uint64_t period_instructions)
{
    uint64_t next = next_event();
    uint64_t target = next;
    uint64_t periods;

    if (next <= avr->cycle) {
        return;
    }
    if (!host_is_pty() && next == NEVER) {
        stop(EXIT_TIMEOUT); /* what it waits for, no file brings */
        return;
    }
    if (pace_always || (host_is_pty() && !chip_eeprom_busy())) {
        uint64_t from_ns = pacing ? start_ns : wall_ns();
        uint64_t from_cycle = pacing ? start_cycle : avr->cycle;
        uint64_t wait = next == NEVER ? LONGEST_WAIT : to_ns(next - avr->cycle);

        host_wait(wait < LONGEST_WAIT ? wait : LONGEST_WAIT);
        target = from_cycle + to_cycles(wall_ns() - from_ns);
        target = target < avr->cycle ? avr->cycle : target < next ? target : next;
    }
    /* One period is left to run: it may put the event off, as a watchdog's reset does. */
    periods = (target - avr->cycle) / period;
    periods -= periods > 0;
    avr->cycle += periods * period;
    instructions += periods * period_instructions;
}

/* A loop that reads a timer besides has a state that never repeats. When bp_link_poll() is called
 * time and again and nothing is on the line, it waits for the host.
 */
static bool polls;

static void see_poll(void)
{
    static uint64_t last;
    static unsigned int in_a_row;

    in_a_row = chip_line_idle() && avr->cycle - last < 2 * SLICE ? in_a_row + 1 : 0;
    last = avr->cycle;
    polls = in_a_row > 8;
}

/* ---- Reset ----------------------------------------------------------------------------------- */

/* With the fuses of Uno and Mega the chip starts 65 ms after a reset, and optiboot then waits if
 * the reset was external, taking what arrives for its own. With a pty that takes real time.
 */
static void hold_in_reset(uint64_t ms)
{
    uint64_t end = wall_ns() + ms * (SECOND / 1000);

    while (host_is_pty() && wall_ns() < end && !power_off) {
        host_wait(end - wall_ns() < LONGEST_WAIT ? end - wall_ns() : LONGEST_WAIT);
        host_forget_bytes();
        if (host_was_opened() && reset_on_open) {
            end = wall_ns() + ms * (SECOND / 1000);
        }
    }
    avr->cycle += to_cycles(ms * (SECOND / 1000));
}

/* What a reset does beyond simavr's, which has just been done. optiboot leaves MCUSR in r2. */
static void after_reset(uint8_t flags)
{
    avr->data[MCUSR] = boot_ms ? 0 : flags;
    if (boot_ms) {
        avr->data[2] = flags;
    }
    chip_reset();
    meter_reset();
    forget_state();
    hold = false;
}

static void press_reset(void)
{
    uint8_t flags = avr->data[MCUSR] | EXTRF;

    hold_in_reset(START_UP_MS + boot_ms);
    avr_reset(avr);
    after_reset(flags);
}

static void bite(void) /* of the watchdog */
{
    uint8_t flags = avr->data[MCUSR];

    hold_in_reset(START_UP_MS);
    avr->run(avr);
    after_reset(flags | avr->data[MCUSR]);
}

/* ---- Run ------------------------------------------------------------------------------------- */

/* Every SLICE cycles: host, signals, pace. */
static void look_around(void)
{
    static uint64_t quiet_since;
    static bool ready;

    if (asked_to_end()) {
        stop(0);
    }
    if (avr->cycle >= max_cycles) {
        stop(EXIT_TIMEOUT);
    }
    if (host_is_pty()) {
        /* As on a desk, the firmware is up before anyone opens the port for the first time. */
        if (!ready && ((board_baud && chip_line_idle()) || avr->cycle > avr->frequency / 10)) {
            ready = true;
            host_announce();
        }
        host_wait(polls && !pace_always && chip_line_idle() && !chip_eeprom_busy() ? POLL_WAIT : 0);
        polls = false;
        chip_line_open();
        if (!chip_line_idle()) {
            quiet_since = avr->cycle;
        }
        /* Where waiting is not seen, real time is the least that a quiet line asks for. */
        pace(pace_always || avr->cycle - quiet_since > avr->frequency / 4);
        chip_line_open();
    } else if (pace_always) {
        pace(true);
    }
    if (reset_button || (host_was_opened() && reset_on_open)) {
        reset_button = 0;
        press_reset();
    }
    if (chip_line_idle() &&
        (!noted.valid || noted.timed || avr->cycle - noted.cycle > LONGEST_PERIOD)) {
        note_state();
    }
}

static void at_mark(uint8_t mark)
{
    if (mark & MARK_POLL) {
        see_poll();
    }
    if (mark & MARK_FUNCTION) {
        forget_state(); /* calls that are skipped would not be counted */
        meter_enter();
    } else if (mark & MARK_STATE && is_noted_state()) {
        idle(avr->cycle - noted.cycle, instructions - noted.instructions);
        forget_state();
    }
}

/* Sleep until an interrupt. Asleep with interrupts off is the end. */
static void sleep_on(void)
{
    if (!avr->sreg[S_I]) {
        stop(0);
    } else if (next_event() > avr->cycle) {
        idle(1, 0);
        if (avr->cycle < next_event()) {
            avr->cycle++; /* the period that idle() leaves */
        }
    }
}

static bool is_store(uint16_t opcode)
{
    return (opcode & 0xF800u) == 0xB800 || /* out */
           (opcode & 0xFE00u) == 0x9200 || /* st, sts */
           (opcode & 0xD200u) == 0x8200 || /* std */
           (opcode & 0xFD00u) == 0x9800;   /* cbi, sbi */
}

static void run_instruction(void)
{
    uint16_t opcode = (uint16_t)(avr->flash[avr->pc] | avr->flash[avr->pc + 1] << 8);
    uint8_t enabled = avr->sreg[S_I];

    avr->pc = avr_run_one(avr);
    avr->interrupts.pending.read = avr->interrupts.pending.write; /* simavr's queue: not used */
    hold = avr->sreg[S_I] && (!enabled || opcode == RETI);
    look |= hold || is_store(opcode);
    meter_instruction(opcode);
}

static void run(void)
{
    avr_run_t normal_run = avr->run;
    uint64_t next_look = 0;

    while (running) {
        const avr_cycle_timer_slot_t *timer = avr->cycle_timers.timer;

        if (avr->cycle >= chip_next) {
            chip_run();
            forget_state();
            look = true;
        }
        if (timer && timer->when <= avr->cycle) {
            avr_cycle_timer_process(avr);
            forget_state();
            look = true;
        }
        if (avr->run != normal_run) { /* so the watchdog asks for a reset */
            bite();
        }
        if (avr->cycle >= next_look) {
            look_around();
            next_look = avr->cycle + SLICE < max_cycles ? avr->cycle + SLICE : max_cycles;
            if (!running) {
                break;
            }
        }
        if (look && avr->sreg[S_I] && !hold) {
            serve_interrupts();
        }
        if (avr->state == cpu_Sleeping) {
            sleep_on();
            continue;
        }
        if (avr->pc >= avr->codeend) {
            crash("a jump outside the code");
            break;
        }
        if (marks[avr->pc / 2]) {
            at_mark(marks[avr->pc / 2]);
        }
        run_instruction();
    }
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void take_signal(int signal_number)
{
    if (signal_number == SIGUSR1) {
        reset_button = 1;
    } else {
        power_off = 1;
    }
}

static void load(const char *mcu, uint32_t frequency, const char *path)
{
    avr_global_logger_set(log_error);
    if (access(path, R_OK) != 0 || elf_read_firmware(path, &firmware) != 0) {
        refuse("cannot read the image %s", path);
    }
    avr = avr_make_mcu_by_name(mcu);
    if (!avr) {
        refuse("simavr has no part %s", mcu);
    }
    avr_init(avr);
    /* simavr writes beyond RAM before it says so. */
    avr->data = realloc(avr->data, MAX_RAM);
    memset(avr->data + avr->ioend + 1, 0xC5, MAX_RAM - avr->ioend - 1u);
    avr_load_firmware(avr, &firmware);
    avr->frequency = frequency;
    avr->io[AVR_DATA_TO_IO(GPIOR2)].w.c = write_gpior2;
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*end || end == text) {
        refuse("%s is no number", text);
    }
    return value;
}

int main(int argc, char **argv)
{
    enum {
        PTY = 256, PACE, RESET_ON_OPEN, BOOT_MS, EEPROM, STATS, TRACE, COUNT, MAX_CYCLES, RX, TX
    };
    static const struct option options[] = {
        {"pty", required_argument, NULL, PTY},
        {"pace", no_argument, NULL, PACE},
        {"reset-on-open", no_argument, NULL, RESET_ON_OPEN},
        {"boot-ms", required_argument, NULL, BOOT_MS},
        {"eeprom", required_argument, NULL, EEPROM},
        {"stats", required_argument, NULL, STATS},
        {"trace", required_argument, NULL, TRACE},
        {"count", required_argument, NULL, COUNT},
        {"max-cycles", required_argument, NULL, MAX_CYCLES},
        {"rx", required_argument, NULL, RX},
        {"tx", required_argument, NULL, TX},
        {NULL, 0, NULL, 0},
    };
    const char *mcu = "atmega328p", *pty = NULL, *eeprom = NULL, *stats = NULL, *trace = NULL;
    const char *rx = NULL, *tx = NULL, **counted = calloc((size_t)argc, sizeof *counted);
    uint32_t frequency = 16000000;
    struct sigaction action = {.sa_handler = take_signal};
    int count = 0, option;

    parent = getppid();
    while ((option = getopt_long(argc, argv, "m:f:", options, NULL)) != -1) {
        switch (option) {
        case 'm': mcu = optarg; break;
        case 'f': frequency = (uint32_t)number(optarg); break;
        case PTY: pty = optarg; break;
        case PACE: pace_always = true; break;
        case RESET_ON_OPEN: reset_on_open = true; break;
        case BOOT_MS: boot_ms = number(optarg); break;
        case EEPROM: eeprom = optarg; break;
        case STATS: stats = optarg; break;
        case TRACE: trace = optarg; break;
        case COUNT: counted[count++] = optarg; break;
        case MAX_CYCLES: max_cycles = number(optarg); break;
        case RX: rx = optarg; break;
        case TX: tx = optarg; break;
        default: return EXIT_USAGE;
        }
    }
    if (optind != argc - 1 || (pty && (rx || tx))) {
        refuse("give one image.elf, and either --pty or --rx and --tx");
    }
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    load(mcu, frequency, argv[optind]);
    meter_begin(&firmware, counted, count);
    if (trace) {
        meter_trace(trace);
    }
    chip_begin(&firmware, eeprom, !pty);
    watch_timed_reads();
    sort_vectors();
    if (pty) {
        host_open_pty(pty);
    } else {
        host_open_files(rx, tx);
    }
    after_reset(PORF);

    run();

    if (crash_reason) {
        fprintf(stderr, "avr_sim: %s, at %04x in %s, cycle %llu\n", crash_reason, crash_pc,
                meter_name(crash_pc), (unsigned long long)avr->cycle);
    }
    meter_write(stats);
    host_close();
    return exit_code;
}
