/* SPDX-License-Identifier: MIT */
/* Handles of sections and files: a number that leads to an object, and what may be done through it. */
#include "win32/handle.h"

#include "win32/system.h"

static struct entry {
    struct object *object; /* NULL: unused */
    DWORD access;
} * entries;
static size_t entry_count;

static HANDLE handle_of(size_t index)
{
    return (HANDLE)(uintptr_t)((index + 1) * 4);
}

static struct entry *find(HANDLE handle)
{
    size_t number = (uintptr_t)handle / 4;
    if ((uintptr_t)handle % 4 != 0 || number == 0 || number > entry_count || entries[number - 1].object == NULL)
        return NULL;
    return &entries[number - 1];
}

HANDLE handle_new(struct object *object, DWORD access)
{
    face_lock();
    size_t index = 0;
    while (index < entry_count && entries[index].object != NULL)
        index++;
    if (index == entry_count) {
        size_t count = entry_count == 0 ? 16 : 2 * entry_count;
        struct entry *more = cairn_realloc(own_heap(), entries, count * sizeof *entries);
        if (more == NULL) {
            face_unlock();
            return fail_null(ERROR_NOT_ENOUGH_MEMORY);
        }
        entries = more;
        for (; entry_count < count; entry_count++)
            entries[entry_count] = (struct entry){.object = NULL};
    }
    entries[index] = (struct entry){.object = object_use(object), .access = access};
    face_unlock();
    return handle_of(index);
}

struct object *handle_use(HANDLE handle, DWORD *ret_access)
{
    face_lock();
    const struct entry *entry = find(handle);
    struct object *object = entry != NULL ? object_use(entry->object) : NULL;
    if (entry != NULL && ret_access != NULL)
        *ret_access = entry->access;
    face_unlock();
    return object != NULL ? object : fail_null(ERROR_INVALID_HANDLE);
}

CAIRN_WIN32_API BOOL WINAPI CloseHandle(HANDLE hObject)
{
    if (hObject == GetCurrentProcess())
        return TRUE;
    face_lock();
    struct entry *entry = find(hObject);
    struct object *object = NULL;
    if (entry != NULL) {
        object = entry->object;
        entry->object = NULL;
    }
    face_unlock();
    if (object == NULL)
        return fail(ERROR_INVALID_HANDLE);
    object_drop(object);
    return TRUE;
}

CAIRN_WIN32_API HANDLE WINAPI GetCurrentProcess(void)
{
    return (HANDLE)(LONG_PTR)-1;
}

static BOOL duplicate(HANDLE source, HANDLE process, HANDLE *ret_target, DWORD wanted, DWORD options)
{
    if (process != GetCurrentProcess())
        return fail(ERROR_INVALID_HANDLE);
    if ((options & ~(DUPLICATE_CLOSE_SOURCE | DUPLICATE_SAME_ACCESS)) != 0)
        return fail(ERROR_INVALID_PARAMETER);
    DWORD access = 0;
    struct object *object = handle_use(source, &access);
    if (object == NULL)
        return FALSE;
    if (options & DUPLICATE_SAME_ACCESS)
        wanted = access;
    HANDLE target = NULL;
    BOOL done = (wanted & ~access) == 0 ? TRUE : fail(ERROR_ACCESS_DENIED);
    if (done && ret_target != NULL)
        target = handle_new(object, wanted);
    object_drop(object);
    if (!done || ret_target == NULL)
        return done;
    if (target != NULL)
        *ret_target = target;
    return target != NULL;
}

CAIRN_WIN32_API BOOL WINAPI DuplicateHandle(HANDLE hSourceProcessHandle, HANDLE hSourceHandle,
                                            HANDLE hTargetProcessHandle, LPHANDLE lpTargetHandle, DWORD dwDesiredAccess,
                                            BOOL bInheritHandle, DWORD dwOptions)
{
    (void)bInheritHandle;
    if (hSourceProcessHandle != GetCurrentProcess())
        return fail(ERROR_INVALID_HANDLE);
    BOOL done = duplicate(hSourceHandle, hTargetProcessHandle, lpTargetHandle, dwDesiredAccess, dwOptions);
    if (dwOptions & DUPLICATE_CLOSE_SOURCE) { /* also when it could not be duplicated */
        DWORD error = GetLastError();
        if (!CloseHandle(hSourceHandle) && done)
            return FALSE;
        SetLastError(error);
    }
    return done;
}
