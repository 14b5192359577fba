/* SPDX-License-Identifier: MIT */
/* guard: calls that end at a fault of memory instead of ending the program. */
#include "api/process.h"

#include <errno.h>
#include <string.h>

#include "platform/platform.h"

CAIRN_API int cairn_guard_call(void (*function)(void *arg), void *arg, cairn_fault *ret_fault)
{
    struct fault fault;
    if (function == NULL) {
        error_set(-EINVAL, "guard_call: no function");
        return -EINVAL;
    }
    if (fault_guarded(function, arg, &fault))
        return 0;
    if (ret_fault != NULL)
        *ret_fault = (cairn_fault){.address = fault.address, .signal = fault.signal, .is_write = fault.is_write};
    return -EFAULT; /* without a text: it may be what the caller expects, and often */
}

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static void copy_bytes(void *arg)
{
    const struct copy *copy = arg;
    if (copy->bytes != 0) /* then both are addresses */
        memcpy(copy->to, copy->from, copy->bytes);
}

CAIRN_API int cairn_guard_copy(void *to, const void *from, size_t bytes)
{
    struct copy copy = {to, from, bytes};
    struct fault fault;
    return fault_guarded(copy_bytes, &copy, &fault) ? 0 : -EFAULT;
}
