/* SPDX-License-Identifier: MIT */
/* process: who we are, when it is, and how a process ends. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

uint32_t process_id(void)
{
    return (uint32_t)getpid();
}

uint32_t process_user(void)
{
    return (uint32_t)geteuid();
}

bool process_is_privileged(void)
{
    return getauxval(AT_SECURE) != 0;
}

/* splitmix64: from a clock and an address, when the kernel has no random bytes yet or a sandbox forbids to ask. */
static void fill_from_clock(unsigned char *to, size_t bytes)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t state = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    state ^= (uint64_t)(uintptr_t)&now ^ (uint64_t)process_id() << 40;
    for (size_t i = 0; i < bytes; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t mixed = (state ^ state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
        to[i] = (unsigned char)(mixed >> 56);
    }
}

void random_fill(void *ret_bytes, size_t bytes)
{
    unsigned char *to = ret_bytes;
    while (bytes > 0) {
        ssize_t count = getrandom(to, bytes, GRND_NONBLOCK);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        to += count;
        bytes -= (size_t)count;
    }
    fill_from_clock(to, bytes);
}

uint64_t time_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

uint64_t time_passed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Returns the value of a lower-case hexadecimal digit, -1 for any other character. */
static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool parse_uuid(uint8_t ret_id[16], const char *text, size_t length)
{
    uint8_t id[16] = {0};
    size_t digits = 0;
    for (size_t i = 0; i < length && digits < 32; i++) {
        if (text[i] == '-')
            continue;
        int value = hex_value(text[i]);
        if (value < 0)
            return false;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | value);
        digits++;
    }
    if (digits != 32)
        return false;
    memcpy(ret_id, id, 16);
    return true;
}

void boot_id_get(uint8_t ret_id[16])
{
    memset(ret_id, 0, 16);
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    char text[64];
    ssize_t length = read(file, text, sizeof text);
    close(file);
    if (length > 0)
        parse_uuid(ret_id, text, (size_t)length);
}

/* One call, so that lines of several processes do not mix; no stdio, whose locks may be held and whose memory is ours.
 */
_Noreturn void crime_abort(const char *line)
{
    struct iovec parts[] = {
        {.iov_base = (void *)(uintptr_t)line, .iov_len = strlen(line)},
        {.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1},
    };
    ssize_t ignored = writev(STDERR_FILENO, parts, 2);
    (void)ignored;
    abort();
}
