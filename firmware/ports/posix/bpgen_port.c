/* bpgen_port.c -- the firmware as a process: its serial line is a pseudo-terminal.
 *
 * The first line of stdout is the terminal's name. The store is the file of the environment's
 * BPGEN_STORE, or memory that is lost at the end. SIGUSR1 presses reset: the program runs from the
 * start in the same process and the terminal stays open, as that of a USB adapter does.
 * SPDX-License-Identifier: 0BSD
 */
#define _XOPEN_SOURCE 700

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

/* What a run tells the one after its reset. */
#define LINE_VARIABLE "BPGEN_LINE"
#define BOOTS_VARIABLE "BPGEN_BOOTS"

extern char **environ;

static int line;
static const char *line_name; /* NULL after a reset */
static uint16_t boots = 1;
static uint8_t reset_cause = BP_RESET_POWER_ON;

static uint8_t received[512], sent[512];
static size_t n_received, next_received, n_sent;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void press_reset(int signal_number)
{
    static char name[] = "firmware";
    static char *arguments[] = {name, NULL};

    (void)signal_number;
    execve("/proc/self/exe", arguments, environ);
    _exit(1);
}

/* A raw terminal. Its other end stays open here too: without any, reading this one fails. */
static void open_line(void)
{
    struct termios settings;
    int other;

    line = posix_openpt(O_RDWR | O_NOCTTY);
    if (line < 0 || grantpt(line) != 0 || unlockpt(line) != 0) {
        fail("no pseudo-terminal");
    }
    line_name = ptsname(line);
    other = line_name == NULL ? -1 : open(line_name, O_RDWR | O_NOCTTY);
    if (other < 0 || tcgetattr(other, &settings) != 0) {
        fail("no pseudo-terminal");
    }
    settings.c_iflag = settings.c_oflag = settings.c_lflag = 0;
    settings.c_cflag = CS8 | CREAD | CLOCAL;
    if (tcsetattr(other, TCSANOW, &settings) != 0 || fcntl(line, F_SETFL, O_NONBLOCK) != 0) {
        fail("no pseudo-terminal");
    }
}

#if BP_STORE_BYTES
static uint8_t store[BP_STORE_BYTES];
static int store_file = -1;

static void open_store(void)
{
    const char *name = getenv("BPGEN_STORE");

    memset(store, 0xFF, sizeof store);
    if (name == NULL) {
        return;
    }
    store_file = open(name, O_RDWR | O_CREAT, 0666);
    if (store_file < 0 || read(store_file, store, sizeof store) < 0 ||
        pwrite(store_file, store, sizeof store, 0) != (ssize_t)sizeof store) {
        fail(name);
    }
}

uint8_t bp_port_store_read(uint16_t address) { return store[address]; }

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    memcpy(store + address, unit, BP_STORE_UNIT);
    if (store_file < 0) {
        return 0;
    }
    return pwrite(store_file, unit, BP_STORE_UNIT, address) == (ssize_t)BP_STORE_UNIT ? 0 : -1;
}
#endif

void bp_port_begin(void)
{
    const char *kept_line = getenv(LINE_VARIABLE);
    const char *kept_boots = getenv(BOOTS_VARIABLE);
    struct sigaction action;
    sigset_t signals;
    char number[16];

    if (kept_line != NULL && kept_boots != NULL) {
        line = atoi(kept_line);
        boots = (uint16_t)(atoi(kept_boots) + 1);
        reset_cause = BP_RESET_RESET_PIN;
    } else {
        open_line();
    }
    snprintf(number, sizeof number, "%d", line);
    setenv(LINE_VARIABLE, number, 1);
    snprintf(number, sizeof number, "%u", (unsigned)boots);
    setenv(BOOTS_VARIABLE, number, 1);
#if BP_STORE_BYTES
    open_store();
#endif

    memset(&action, 0, sizeof action);
    action.sa_handler = press_reset;
    sigaction(SIGUSR1, &action, NULL);
    /* The handler's run left it blocked, so that a second reset waits until here. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    if (line_name != NULL) {
        printf("%s\n", line_name);
        fflush(stdout);
    }
}

/* Wait until the line can be read (0) or written (1), or for that many milliseconds. */
static void wait_for_line(int writing, int milliseconds)
{
    struct timeval patience;
    fd_set set;

    patience.tv_sec = milliseconds / 1000;
    patience.tv_usec = milliseconds % 1000 * 1000;
    FD_ZERO(&set);
    FD_SET(line, &set);
    select(line + 1, writing ? NULL : &set, writing ? &set : NULL, NULL, &patience);
}

/* What nobody takes within a second is lost, as on a wire. */
static void flush(void)
{
    size_t done = 0;
    int tries = 0;

    while (done < n_sent && tries < 2) {
        ssize_t n = write(line, sent + done, n_sent - done);
        if (n > 0) {
            done += (size_t)n;
            tries = 0;
        } else {
            if (tries == 0) {
                wait_for_line(1, 1000);
            }
            tries++;
        }
    }
    n_sent = 0;
}

int16_t bp_port_read(void)
{
    ssize_t n;

    if (next_received < n_received) {
        return received[next_received++];
    }
    flush();
    n = read(line, received, sizeof received);
    n_received = n > 0 ? (size_t)n : 0;
    next_received = 0;
    return n > 0 ? received[next_received++] : -1;
}

void bp_port_write(uint8_t byte)
{
    if (n_sent == sizeof sent) {
        flush();
    }
    sent[n_sent++] = byte;
}

void bp_port_idle(void)
{
    if (next_received == n_received) {
        wait_for_line(0, 2);
    }
}

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = reset_cause;
    return boots;
}

/* The terminal makes the host wait when it is full. */
uint16_t bp_port_lost(void) { return 0; }
