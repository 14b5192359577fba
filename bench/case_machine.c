/* SPDX-License-Identifier: MIT */
/* What the system takes on this machine, to judge the other figures by. No allocator has a part in it. */
#include "cases.h"
#include "heap.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAPPING ((size_t)16 << 20)
#define PAGE 4096

static void touch_new_pages(void *unused, long count)
{
    (void)unused;
    for (long i = 0; i < count; i++) {
        char *memory = mmap(NULL, MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("no memory is to be had");
        for (size_t at = 0; at < MAPPING; at += PAGE)
            *(volatile char *)(memory + at) = 1;
        munmap(memory, MAPPING);
    }
}

static void call_system(void *unused, long count)
{
    (void)unused;
    for (long i = 0; i < count; i++)
        syscall(SYS_getppid); /* glibc keeps nothing of it */
}

void case_machine(void)
{
    repeat("page", touch_new_pages, NULL, (double)MAPPING / PAGE);
    repeat("call", call_system, NULL, 1);
}
