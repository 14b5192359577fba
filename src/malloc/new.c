/* SPDX-License-Identifier: MIT */
/*
 * C++'s operators new and delete, in C and without a C++ library. What there is to do about memory that is not to be
 * had (the new handler, std::bad_alloc) is a matter of the C++ library that the program has: its own operator of the
 * same name does it, and calls our malloc each time it tries again. Programs without one call no operator here.
 *
 * These are names of the Itanium C++ ABI, which all compilers for 64-bit Linux follow; size_t is `m` there.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "malloc/malloc.h"
#include "platform/platform.h"

/* ---------------------------------------------------------------- the C++ library's operators */

/*
 * Behind us in the program's scope; or, when it came with a plugin that was loaded with RTLD_LOCAL, in the scope of
 * the caller's object.
 */
static COLD void *find_next(const char *name, const void *caller)
{
    void *next = dlsym(RTLD_NEXT, name);
    Dl_info info;
    if (next != NULL || dladdr(caller, &info) == 0 || info.dli_fname == NULL)
        return next;
    void *object = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (object != NULL) {
        next = dlsym(object, name);
        dlclose(object); /* the caller is in use, and what it needs with it */
    }
    return next;
}

static _Noreturn void no_operator(void)
{
    crime_abort("cairn: operator new: no memory, and no C++ library that could throw std::bad_alloc");
}

/* dlsym gives functions as data; POSIX has them of one size. */
typedef void *new_fn(size_t size, const void *tag);
typedef void *new_aligned_fn(size_t size, size_t alignment, const void *tag);

static COLD void *new_failed(const char *name, const void *own, const void *caller, size_t size, const void *tag)
{
    union {
        void *address;
        new_fn *call;
    } next = {.address = find_next(name, caller)};
    if (next.address == NULL || next.address == own)
        no_operator();
    return next.call(size, tag);
}

static COLD void *new_aligned_failed(const char *name, const void *own, const void *caller, size_t size,
                                     size_t alignment, const void *tag)
{
    union {
        void *address;
        new_aligned_fn *call;
    } next = {.address = find_next(name, caller)};
    if (next.address == NULL || next.address == own)
        no_operator();
    return next.call(size, alignment, tag);
}

/* ---------------------------------------------------------------- new */

/* The tag is std::nothrow where there is one; an operator without it does not look at the argument. */
#define NEW(function, name)                                                                                            \
    EXPORTED void *function(size_t size, const void *tag) __asm__(name);                                               \
    EXPORTED void *function(size_t size, const void *tag)                                                              \
    {                                                                                                                  \
        void *block = malloc(size);                                                                                    \
        if (LIKELY(block != NULL))                                                                                     \
            return block;                                                                                              \
        return new_failed(name, (const void *)(uintptr_t)function, __builtin_return_address(0), size, tag);            \
    }

#define NEW_ALIGNED(function, name)                                                                                    \
    EXPORTED void *function(size_t size, size_t alignment, const void *tag) __asm__(name);                             \
    EXPORTED void *function(size_t size, size_t alignment, const void *tag)                                            \
    {                                                                                                                  \
        void *block = aligned_alloc(alignment, size);                                                                  \
        if (LIKELY(block != NULL))                                                                                     \
            return block;                                                                                              \
        return new_aligned_failed(name, (const void *)(uintptr_t)function, __builtin_return_address(0), size,          \
                                  alignment, tag);                                                                     \
    }

NEW(new_one, "_Znwm")
NEW(new_array, "_Znam")
NEW(new_one_nothrow, "_ZnwmRKSt9nothrow_t")
NEW(new_array_nothrow, "_ZnamRKSt9nothrow_t")
NEW_ALIGNED(new_one_aligned, "_ZnwmSt11align_val_t")
NEW_ALIGNED(new_array_aligned, "_ZnamSt11align_val_t")
NEW_ALIGNED(new_one_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t")
NEW_ALIGNED(new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t")

/* ---------------------------------------------------------------- delete */

/* The size, the alignment and std::nothrow that some of them get as well tell nothing that the heap does not know. */
#define DELETE(function, name)                                                                                         \
    EXPORTED void function(void *block) __asm__(name);                                                                 \
    EXPORTED void function(void *block)                                                                                \
    {                                                                                                                  \
        free(block);                                                                                                   \
    }

DELETE(delete_one, "_ZdlPv")
DELETE(delete_array, "_ZdaPv")
DELETE(delete_one_sized, "_ZdlPvm")
DELETE(delete_array_sized, "_ZdaPvm")
DELETE(delete_one_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(delete_one_aligned, "_ZdlPvSt11align_val_t")
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(delete_one_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
DELETE(delete_one_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")
