/* avr_host.c -- the host's end of the line: a pseudo-terminal that behaves like a USB serial port,
 * or two files. Linux only: it learns from inotify when the port is opened.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#define _GNU_SOURCE
#include "avr_sim.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the host has written and the line has not carried yet, and the other way. */
enum { BUFFER = 65536 };
typedef struct {
    uint8_t bytes[BUFFER];
    size_t first;
    size_t count;
} queue_t;

static queue_t from_host;
static queue_t to_host;
static int pty = -1;
static int opens = -1; /* inotify of the slave */
static bool attached;
static int open_count; /* as far as inotify tells, which merges equal events */
static bool was_opened;
static const char *link_path;
static bool announced; /* the pty has the board's rate */
static FILE *rx_file;
static FILE *tx_file;
static int rx_peek = EOF;

bool host_is_pty(void)
{
    return pty >= 0;
}

/* Raw, and with the board's rate for a host that sets none. */
static void set_up_pty(uint32_t baud)
{
    struct termios2 settings;

    if (ioctl(pty, TCGETS2, &settings) != 0) {
        refuse("cannot read the settings of the pty");
    }
    settings.c_iflag = 0;
    settings.c_oflag = 0;
    settings.c_lflag = 0;
    settings.c_cc[VMIN] = 1;
    settings.c_cc[VTIME] = 0;
    settings.c_cflag = (settings.c_cflag & (tcflag_t)~CBAUD) | BOTHER;
    settings.c_ispeed = settings.c_ospeed = baud;
    if (ioctl(pty, TCSETS2, &settings) != 0) {
        refuse("cannot set up the pty");
    }
}

void host_open_pty(const char *path)
{
    const char *name;
    int slave;

    pty = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (pty < 0 || grantpt(pty) != 0 || unlockpt(pty) != 0) {
        refuse("cannot make a pty: %s", strerror(errno));
    }
    name = ptsname(pty);
    /* Once the slave was open and is closed, POLLHUP on the master says that nobody has it open. */
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        refuse("cannot open %s: %s", name, strerror(errno));
    }
    close(slave);
    opens = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (opens < 0 || inotify_add_watch(opens, name, IN_OPEN | IN_CLOSE) < 0) {
        refuse("cannot watch %s: %s", name, strerror(errno));
    }
    link_path = path;
}

void host_announce(void)
{
    struct stat status;

    set_up_pty(board_baud);
    announced = true;
    if (lstat(link_path, &status) == 0 && S_ISLNK(status.st_mode)) {
        unlink(link_path);
    }
    if (symlink(ptsname(pty), link_path) != 0) {
        refuse("cannot make the link %s: %s", link_path, strerror(errno));
    }
    printf("READY %s -> %s\n", link_path, ptsname(pty));
    fflush(stdout);
}

void host_open_files(const char *rx_path, const char *tx_path)
{
    if (rx_path) {
        rx_file = fopen(rx_path, "rb");
        if (!rx_file) {
            refuse("cannot read %s", rx_path);
        }
        rx_peek = getc(rx_file);
    }
    if (tx_path) {
        tx_file = fopen(tx_path, "wb");
        if (!tx_file) {
            refuse("cannot write %s", tx_path);
        }
    }
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

bool host_has_bytes(void)
{
    return pty >= 0 ? from_host.count > 0 : rx_peek != EOF;
}

bool host_next(uint8_t *byte)
{
    if (!host_has_bytes()) {
        return false;
    }
    if (pty < 0) {
        *byte = (uint8_t)rx_peek;
        rx_peek = getc(rx_file);
        return true;
    }
    *byte = from_host.bytes[from_host.first];
    from_host.first = (from_host.first + 1) % BUFFER;
    from_host.count--;
    return true;
}

void host_forget_bytes(void)
{
    from_host.count = 0;
}

void host_take(uint8_t byte)
{
    if (pty < 0) {
        if (tx_file) {
            putc(byte, tx_file);
        }
        return;
    }
    /* The time of a host that does not read stands still: a driver's buffer would overflow, but
     * here the board may be much faster than a real one.
     */
    while (attached && to_host.count == BUFFER && !asked_to_end()) {
        host_wait(1000000);
    }
    if (attached && to_host.count < BUFFER) {
        to_host.bytes[(to_host.first + to_host.count) % BUFFER] = byte;
        to_host.count++;
    }
}

uint32_t host_baud(void)
{
    struct termios2 settings;

    if (!announced || ioctl(pty, TCGETS2, &settings) != 0) {
        return 0;
    }
    return settings.c_ospeed;
}

static void receive(void)
{
    while (from_host.count < BUFFER) {
        size_t end = (from_host.first + from_host.count) % BUFFER;
        size_t room = end < from_host.first ? from_host.first - end : BUFFER - end;
        ssize_t got = read(pty, from_host.bytes + end, room);

        if (got <= 0) {
            return;
        }
        from_host.count += (size_t)got;
    }
}

static void send(void)
{
    while (to_host.count) {
        size_t run = BUFFER - to_host.first;
        ssize_t put = write(pty, to_host.bytes + to_host.first,
                            to_host.count < run ? to_host.count : run);

        if (put <= 0) {
            return;
        }
        to_host.first = (to_host.first + (size_t)put) % BUFFER;
        to_host.count -= (size_t)put;
    }
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* The control lines of a real port pulse when the first program opens it. */
static void see_opens(void)
{
    char events[4096] __attribute__((aligned(8)));
    ssize_t size;

    while ((size = read(opens, events, sizeof events)) > 0) {
        for (char *at = events; at < events + size; at += sizeof(struct inotify_event)) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)at;

            at += event->len;
            if (event->mask & IN_OPEN && open_count++ == 0) {
                was_opened = true;
            } else if (event->mask & IN_CLOSE && open_count > 0) {
                open_count--;
            }
        }
    }
}

bool host_was_opened(void)
{
    bool answer = was_opened;

    was_opened = false;
    return answer;
}

void host_wait(uint64_t ns)
{
    struct pollfd files[2] = {{.fd = opens, .events = POLLIN}, {.fd = pty}};
    struct timespec timeout = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

    files[1].events = (short)((from_host.count < BUFFER ? POLLIN : 0) |
                              (to_host.count ? POLLOUT : 0));
    /* A pty that nobody has open is always ready. */
    if (ppoll(files, attached ? 2 : 1, &timeout, NULL) < 0) {
        return;
    }
    files[1].events = POLLIN;
    poll(files + 1, 1, 0);
    attached = !(files[1].revents & POLLHUP);
    if (!attached) {
        open_count = 0;
    }
    see_opens();
    if (files[1].revents & POLLIN) {
        receive();
    }
    if (attached) {
        send();
    } else {
        to_host.count = 0;
    }
}

void host_close(void)
{
    char target[64];
    ssize_t size;

    if (pty >= 0) {
        send();
        size = readlink(link_path, target, sizeof target - 1);
        if (size > 0) {
            target[size] = 0;
            if (strcmp(target, ptsname(pty)) == 0) {
                unlink(link_path);
            }
        }
        close(pty);
    }
    if (tx_file) {
        fclose(tx_file);
    }
}
