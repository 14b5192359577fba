/* SPDX-License-Identifier: MIT */
#ifndef WIN32_EXCEPTION_H
#define WIN32_EXCEPTION_H

#include <stdbool.h>
#include <stdint.h>

/* From now on each fault of memory is shown to handler first, in the signal handler; true: try the access again. */
void exception_watch_holes(bool (*handler)(uintptr_t address, bool writes));

#endif
