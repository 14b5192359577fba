/* SPDX-License-Identifier: MIT */
#ifndef WIN32_HANDLE_H
#define WIN32_HANDLE_H

#include "win32/section.h"

/* A new handle, one more use of the object; NULL with the last error set. */
HANDLE handle_new(struct object *object, DWORD access);

/* The object of a handle, used once more by the caller; NULL with the last error set. ret_access may be NULL. */
struct object *handle_use(HANDLE handle, DWORD *ret_access);

#endif
