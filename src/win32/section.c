/* SPDX-License-Identifier: MIT */
/*
 * Sections and their views. Memory is a named section of cairn's: what one process commits is there in the views of
 * all. One without a name loses its name as soon as it exists.
 */
#include "win32/section.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "win32/handle.h"
#include "win32/name.h"
#include "win32/system.h"

#define SECTION_BYTES_MAX (UINT64_C(1) << 40) /* cairn's limit */

/*
 * A named section of a name that is too long for a file begins with a label of one page; the user's bytes follow at the
 * next place that is aligned enough for all views.
 */
struct label {
    uint64_t magic;
    char whole[WHOLE_BYTES];
};
#define LABEL_MAGIC UINT64_C(0x6c6162656c333277)
#define LABEL_BYTES GRANULARITY
_Static_assert(sizeof(struct label) <= 4096, "no more than the smallest page");

/* Held while a name comes or goes, together with what stands below; before face_lock. A fork takes it. */
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
static struct object *named; /* both locks: changes; either: looks */

/* ---------------------------------------------------------------- objects */

struct object *object_use(struct object *object)
{
    object->uses++;
    return object;
}

static void remove_from_list(struct object *object)
{
    for (struct object **link = &named; *link != NULL; link = &(*link)->next)
        if (*link == object) {
            *link = object->next;
            return;
        }
}

static void let_go(struct object *object)
{
    char directory[PATH_BYTES];
    snprintf(directory, sizeof directory, "%s", object->path);
    *strrchr(directory, '/') = '\0';
    int lock = names_lock(directory);
    name_let_go(object->holder, object->path);
    if (lock >= 0)
        names_unlock(lock);
    object->holder = -1;
}

/* True: the use was not the last. */
static bool drop_one(struct object *object, bool may_be_last)
{
    face_lock();
    bool is_last = object->uses == 1;
    if (!is_last || may_be_last)
        object->uses--;
    if (is_last && may_be_last && object->path != NULL)
        remove_from_list(object);
    face_unlock();
    return !is_last;
}

static bool drop_named(struct object *object)
{
    (void)pthread_mutex_lock(&names);
    bool stays = drop_one(object, true);
    if (!stays && object->holder >= 0)
        let_go(object);
    (void)pthread_mutex_unlock(&names);
    return stays;
}

void object_drop(struct object *object)
{
    bool is_named = object->path != NULL;
    if (drop_one(object, !is_named) || (is_named && drop_named(object)))
        return;
    cairn_section_close(object->section);
    if (object->file >= 0)
        system_file_close(object->file);
    cairn_free(own_heap(), object->path);
    cairn_free(own_heap(), object);
}

/* A process that ends has no handles any more. */
static void __attribute__((destructor)) end_names(void)
{
    (void)pthread_mutex_lock(&names);
    for (struct object *object = named; object != NULL; object = object->next)
        if (object->holder >= 0)
            let_go(object);
    (void)pthread_mutex_unlock(&names);
}

/* The child has what its parent had, and may outlive it: what it holds must not be the parent's, which goes with that.
 */
void sections_before_fork(void)
{
    (void)pthread_mutex_lock(&names);
    for (struct object *object = named; object != NULL; object = object->next)
        object->heir = name_hold_for_child(object->holder, object->path);
}

void sections_after_fork(bool is_child)
{
    for (struct object *object = named; object != NULL; object = object->next)
        if (is_child)
            object->holder = name_inherit(object->holder, object->heir);
        else
            name_give_up(object->heir);
    (void)pthread_mutex_unlock(&names);
}

/* A new object with one use, the caller's. */
static struct object *new_object(const struct object *given)
{
    struct object *object = own_heap() != NULL ? cairn_alloc(own_heap(), sizeof *object) : NULL;
    if (object == NULL)
        return fail_null(ERROR_NOT_ENOUGH_MEMORY);
    *object = *given;
    object->uses = 1;
    return object;
}

/* Gives the caller's use of an object to a new handle. */
static HANDLE hand_out(struct object *object, DWORD access)
{
    HANDLE handle = handle_new(object, access);
    object_drop(object);
    return handle;
}

/* ---------------------------------------------------------------- memory */

static DWORD access_of(DWORD protection)
{
    DWORD access = FILE_MAP_READ | FILE_MAP_COPY;
    if (protection == PAGE_READWRITE || protection == PAGE_EXECUTE_READWRITE)
        access |= FILE_MAP_WRITE;
    if (protection >= PAGE_EXECUTE)
        access |= FILE_MAP_EXECUTE;
    return access | (FILE_MAP_ALL_ACCESS & ~0x1fu);
}

/* What the kind of memory asks of cairn. */
struct wish {
    uint64_t bytes;
    bool commits;
    DWORD protection;
};

static DWORD make_section(cairn_section **ret_section, const struct wish *wish, const char *directory, const char *name,
                          bool has_label)
{
    const uint64_t begins = has_label ? LABEL_BYTES : 0;
    cairn_options options = {
        .size = sizeof options,
        .name = name,
        .directory = directory,
        .bytes_max = begins + wish->bytes,
        .bytes_start = wish->commits ? begins + wish->bytes
                       : has_label   ? sizeof(struct label)
                                     : 0,
        .mode = name_mode_of(wish->protection),
    };
    int error = cairn_section_create(ret_section, &options);
    if (error == -ENOMEM || error == -EADDRINUSE) /* there may be no address that is free in all processes */
        return wish->commits ? ERROR_COMMITMENT_LIMIT : ERROR_NOT_ENOUGH_MEMORY;
    return error < 0 ? error_of(error) : NO_ERROR;
}

static HANDLE create_unnamed(const struct wish *wish)
{
    static atomic_u32 counter;
    char directory[PATH_BYTES], name[80];
    DWORD error = name_directory(directory);
    if (error != NO_ERROR)
        return fail_null(error);
    cairn_section *section = NULL;
    do {
        unsigned number = fetch_add_relaxed(&counter, 1);
        snprintf(name, sizeof name, "win32-unnamed.%ld.%u", (long)getpid(), number);
        error = make_section(&section, wish, directory, name, false);
    } while (error == ERROR_ALREADY_EXISTS);
    if (error != NO_ERROR)
        return fail_null(error);
    (void)cairn_section_unlink(name, directory);
    struct object *object = new_object(&(struct object){
        .kind = OBJECT_MEMORY,
        .section = section,
        .file = -1,
        .bytes = cairn_section_bytes_max(section),
        .protection = wish->protection,
        .holder = -1,
    });
    if (object == NULL) {
        cairn_section_close(section);
        return NULL;
    }
    return hand_out(object, access_of(wish->protection));
}

/* A named section while it is made or opened. */
struct found {
    const struct name *name;
    char directory[PATH_BYTES];
    char path[PATH_BYTES + CAIRN_NAME_MAX + 2];
    int holder;
    cairn_section *section;
    DWORD protection; /* the section's */
};

static void let_found_go(struct found *it)
{
    cairn_section_close(it->section);
    name_let_go(it->holder, it->path);
}

/* Where names are hashed, another may have the same. It is another process's word, so it is looked at with care. */
static bool label_fits(const struct found *it)
{
    if (!it->name->has_label)
        return true;
    const struct label *label = cairn_section_address(it->section);
    return cairn_section_bytes_max(it->section) > LABEL_BYTES && cairn_section_query(it->section, 0, NULL) == 1 &&
           label->magic == LABEL_MAGIC && strncmp(label->whole, it->name->whole, WHOLE_BYTES) == 0;
}

static DWORD open_held(struct found *it, bool writes)
{
    cairn_options options = {.size = sizeof options, .directory = it->directory};
    it->protection = name_protection(it->holder);
    int error = cairn_section_open(&it->section, it->name->file, &options);
    bool wants_more = writes && (access_of(it->protection) & FILE_MAP_WRITE) != 0;
    if ((error == -EACCES || error == -EPERM) && !wants_more) {
        options.flags = CAIRN_READ_ONLY;
        error = cairn_section_open(&it->section, it->name->file, &options);
    }
    if (error < 0)
        return error_of(error);
    return label_fits(it) ? NO_ERROR : ERROR_INVALID_HANDLE;
}

static DWORD make_held(struct found *it, const struct wish *wish)
{
    DWORD error = make_section(&it->section, wish, it->directory, it->name->file, it->name->has_label);
    if (error != NO_ERROR)
        return error;
    it->holder = name_hold_new(it->path);
    if (it->holder < 0) {
        cairn_section_close(it->section);
        (void)cairn_section_unlink(it->name->file, it->directory);
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    it->protection = wish->protection;
    if (it->name->has_label) {
        struct label *label = cairn_section_address(it->section);
        label->magic = LABEL_MAGIC;
        strcpy(label->whole, it->name->whole);
    }
    return NO_ERROR;
}

/* Under the locks of names. wish NULL: only what exists. Returns ERROR_ALREADY_EXISTS for what was there. */
static DWORD find_or_make(struct found *it, const struct wish *wish, bool writes)
{
    it->holder = name_hold(it->path);
    if (it->holder == -ENOENT && wish != NULL)
        return make_held(it, wish);
    if (it->holder < 0)
        return error_of(it->holder);
    DWORD error = open_held(it, writes);
    if (error == NO_ERROR)
        return ERROR_ALREADY_EXISTS;
    let_found_go(it);
    return error;
}

/* Makes an object of it, with one use. Under the locks of names. */
static struct object *enter_named(struct found *it)
{
    const uint64_t begins = it->name->has_label ? LABEL_BYTES : 0;
    struct object *object = new_object(&(struct object){
        .kind = OBJECT_MEMORY,
        .section = it->section,
        .file = -1,
        .bytes = cairn_section_bytes_max(it->section) - begins,
        .begins = begins,
        .protection = it->protection,
        .holder = it->holder,
        .heir = -1,
    });
    size_t length = strlen(it->path) + 1;
    char *path = object != NULL ? cairn_alloc(own_heap(), length) : NULL;
    if (path == NULL) {
        let_found_go(it);
        cairn_free(own_heap(), object);
        return fail_null(ERROR_NOT_ENOUGH_MEMORY);
    }
    memcpy(path, it->path, length);
    face_lock();
    object->path = path;
    object->next = named;
    named = object;
    face_unlock();
    return object;
}

/* Under the lock of this process's names. */
static DWORD find_object(struct found *it, const struct wish *wish, bool writes, struct object **ret_object)
{
    int lock = names_lock(it->directory);
    if (lock < 0)
        return wish == NULL && errno == ENOENT ? ERROR_FILE_NOT_FOUND : error_of(-errno);
    DWORD error = find_or_make(it, wish, writes);
    if (error == NO_ERROR || error == ERROR_ALREADY_EXISTS) {
        *ret_object = enter_named(it);
        if (*ret_object == NULL)
            error = ERROR_NOT_ENOUGH_MEMORY;
    }
    names_unlock(lock);
    return error;
}

/* Sets the last error also on success, when a section was wished for: whether it was there. */
static HANDLE have_named(const struct name *name, const struct wish *wish, DWORD access)
{
    struct found it = {.name = name, .holder = -1};
    DWORD error = name_directory(it.directory);
    if (error != NO_ERROR)
        return fail_null(error);
    snprintf(it.path, sizeof it.path, "%s/%s", it.directory, name->file);
    struct object *object = NULL;
    (void)pthread_mutex_lock(&names);
    error = find_object(&it, wish, (access & FILE_MAP_WRITE) != 0, &object);
    (void)pthread_mutex_unlock(&names);
    if (object == NULL)
        return fail_null(error);
    HANDLE handle = hand_out(object, access & access_of(object->protection));
    if (handle != NULL && wish != NULL)
        SetLastError(error);
    return handle;
}

/* ---------------------------------------------------------------- files */

CAIRN_WIN32_API HANDLE WINAPI CairnFileHandle(int Descriptor)
{
    int file = system_file_keep(Descriptor);
    if (file < 0)
        return fail_null(file == -EBADF ? ERROR_INVALID_HANDLE : error_of(file));
    struct object *object = new_object(&(struct object){.kind = OBJECT_FILE, .file = file, .holder = -1});
    if (object == NULL) {
        system_file_close(file);
        return NULL;
    }
    return hand_out(object, 0);
}

static DWORD check_file(int file, const struct wish *wish, uint64_t *ret_bytes)
{
    uint64_t bytes;
    bool may_read, may_write;
    if (system_file_size(file, &bytes, &may_read, &may_write) < 0)
        return ERROR_INVALID_HANDLE;
    bool writes = wish->protection == PAGE_READWRITE || wish->protection == PAGE_EXECUTE_READWRITE;
    if (!may_read || (writes && !may_write))
        return ERROR_ACCESS_DENIED;
    if (wish->bytes == 0 && bytes == 0)
        return ERROR_FILE_INVALID;
    if (wish->bytes > bytes && !writes)
        return ERROR_NOT_ENOUGH_MEMORY;
    if (wish->bytes > bytes && system_file_extend(file, wish->bytes) < 0)
        return ERROR_DISK_FULL;
    *ret_bytes = wish->bytes != 0 ? wish->bytes : bytes;
    return NO_ERROR;
}

static HANDLE map_file(HANDLE handle, const struct wish *wish)
{
    struct object *from = handle_use(handle, NULL);
    if (from == NULL)
        return NULL;
    uint64_t bytes = 0;
    DWORD error = from->kind == OBJECT_FILE ? check_file(from->file, wish, &bytes) : ERROR_INVALID_HANDLE;
    int file = error == NO_ERROR ? system_file_keep(from->file) : -1;
    object_drop(from);
    if (error != NO_ERROR || file < 0)
        return fail_null(error != NO_ERROR ? error : error_of(file));
    struct object *object = new_object(&(struct object){
        .kind = OBJECT_MAPPED_FILE, .file = file, .bytes = bytes, .protection = wish->protection, .holder = -1});
    if (object == NULL) {
        system_file_close(file);
        return NULL;
    }
    return hand_out(object, access_of(wish->protection));
}

/* ---------------------------------------------------------------- CreateFileMapping, OpenFileMapping */

static DWORD check_create(const SECURITY_ATTRIBUTES *attributes, DWORD protect, struct wish *ret_wish)
{
    const DWORD refused = SEC_IMAGE | SEC_NOCACHE | SEC_WRITECOMBINE | SEC_LARGE_PAGES;
    if ((protect & refused) != 0 || (attributes != NULL && attributes->lpSecurityDescriptor != NULL))
        return ERROR_NOT_SUPPORTED;
    DWORD kind = protect & (SEC_RESERVE | SEC_COMMIT);
    DWORD protection = protect & ~(SEC_RESERVE | SEC_COMMIT);
    if (kind == (SEC_RESERVE | SEC_COMMIT) || !protection_is_valid(protection) || protection == PAGE_NOACCESS ||
        protection == PAGE_EXECUTE)
        return ERROR_INVALID_PARAMETER;
    ret_wish->commits = kind != SEC_RESERVE;
    ret_wish->protection = protection;
    return NO_ERROR;
}

/* Whether a section was there the last error tells; of one without a name that it was not. */
static HANDLE made(HANDLE handle)
{
    if (handle != NULL)
        SetLastError(NO_ERROR);
    return handle;
}

/* name: NULL without one. */
static HANDLE create(HANDLE from, const SECURITY_ATTRIBUTES *attributes, DWORD protect, DWORD high, DWORD low,
                     const struct name *name)
{
    struct wish wish = {.bytes = (uint64_t)high << 32 | low};
    DWORD error = own_heap() == NULL ? ERROR_NOT_ENOUGH_MEMORY : check_create(attributes, protect, &wish);
    if (error == NO_ERROR && from == INVALID_HANDLE_VALUE && wish.bytes == 0)
        error = ERROR_INVALID_PARAMETER;
    if (error == NO_ERROR && from != INVALID_HANDLE_VALUE && name != NULL)
        error = ERROR_NOT_SUPPORTED;
    const uint64_t most = SECTION_BYTES_MAX - (name != NULL && name->has_label ? LABEL_BYTES : 0);
    if (error == NO_ERROR && from == INVALID_HANDLE_VALUE && wish.bytes > most)
        error = ERROR_NOT_ENOUGH_MEMORY;
    if (error != NO_ERROR)
        return fail_null(error);
    if (from != INVALID_HANDLE_VALUE)
        return made(map_file(from, &wish));
    return name != NULL ? have_named(name, &wish, access_of(wish.protection)) : made(create_unnamed(&wish));
}

CAIRN_WIN32_API HANDLE WINAPI CreateFileMappingA(HANDLE hFile, LPSECURITY_ATTRIBUTES lpFileMappingAttributes,
                                                 DWORD flProtect, DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow,
                                                 LPCSTR lpName)
{
    struct name name;
    bool is_named = lpName != NULL && lpName[0] != 0;
    DWORD error = is_named ? name_of(lpName, &name) : NO_ERROR;
    if (error != NO_ERROR)
        return fail_null(error);
    return create(hFile, lpFileMappingAttributes, flProtect, dwMaximumSizeHigh, dwMaximumSizeLow,
                  is_named ? &name : NULL);
}

CAIRN_WIN32_API HANDLE WINAPI CreateFileMappingW(HANDLE hFile, LPSECURITY_ATTRIBUTES lpFileMappingAttributes,
                                                 DWORD flProtect, DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow,
                                                 LPCWSTR lpName)
{
    struct name name;
    bool is_named = lpName != NULL && lpName[0] != 0;
    DWORD error = is_named ? name_of_wide(lpName, &name) : NO_ERROR;
    if (error != NO_ERROR)
        return fail_null(error);
    return create(hFile, lpFileMappingAttributes, flProtect, dwMaximumSizeHigh, dwMaximumSizeLow,
                  is_named ? &name : NULL);
}

static HANDLE open_named(DWORD access, DWORD error, const struct name *name)
{
    if (error != NO_ERROR || own_heap() == NULL)
        return fail_null(error != NO_ERROR ? error : ERROR_NOT_ENOUGH_MEMORY);
    if (access & FILE_MAP_COPY)
        access |= FILE_MAP_READ;
    return have_named(name, NULL, access);
}

CAIRN_WIN32_API HANDLE WINAPI OpenFileMappingA(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName)
{
    struct name name;
    (void)bInheritHandle;
    return open_named(dwDesiredAccess, lpName == NULL ? ERROR_INVALID_PARAMETER : name_of(lpName, &name), &name);
}

CAIRN_WIN32_API HANDLE WINAPI OpenFileMappingW(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName)
{
    struct name name;
    (void)bInheritHandle;
    return open_named(dwDesiredAccess, lpName == NULL ? ERROR_INVALID_PARAMETER : name_of_wide(lpName, &name), &name);
}

/* ---------------------------------------------------------------- views */

/* The protection of a view, 0 where the handle may not that much. */
static DWORD protection_of(DWORD desired, DWORD access)
{
    bool executes = (desired & FILE_MAP_EXECUTE) != 0 && (desired & FILE_MAP_ALL_ACCESS) != FILE_MAP_ALL_ACCESS;
    if (executes && !(access & FILE_MAP_EXECUTE))
        return 0;
    if (desired & FILE_MAP_WRITE)
        return !(access & FILE_MAP_WRITE) ? 0 : executes ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    if (!(access & FILE_MAP_READ))
        return 0;
    if (desired & FILE_MAP_COPY)
        return executes ? PAGE_EXECUTE_WRITECOPY : PAGE_WRITECOPY;
    return executes ? PAGE_EXECUTE_READ : PAGE_READONLY;
}

/* Copies what is committed. */
static int fill_copy(const struct region *view)
{
    int error = system_protect(view->first, view->bytes, PAGE_READWRITE);
    const unsigned char *from = cairn_section_address(view->object->section);
    uint64_t run;
    for (uint64_t done = 0; error == 0 && done < view->bytes; done += run) {
        bool committed = cairn_section_query(view->object->section, view->offset + done, &run) == 1;
        run = run < view->bytes - done ? run : view->bytes - done;
        if (committed)
            memcpy(view->first + done, from + view->offset + done, run);
    }
    return error == 0 ? system_protect(view->first, view->bytes, view->protection) : error;
}

static int fill_memory(const struct region *view)
{
    void *at;
    int error = cairn_section_map(view->object->section, view->offset, view->bytes, view->first, &at);
    uint64_t run;
    if (error < 0 || !view->watches_holes)
        return error < 0 ? error : system_protect(view->first, view->bytes, view->protection);
    error = system_protect(view->first, view->bytes, PAGE_NOACCESS);
    for (uint64_t done = 0; error == 0 && done < view->bytes; done += run) {
        bool committed = cairn_section_query(view->object->section, view->offset + done, &run) == 1;
        run = run < view->bytes - done ? run : view->bytes - done;
        if (committed)
            error = system_protect(view->first + done, run, view->protection);
    }
    return error;
}

/* Puts the section's pages into the range that is reserved for the view. */
static int fill(const struct region *view)
{
    if (view->object->kind == OBJECT_MAPPED_FILE)
        return system_map_file(view->first, view->bytes, view->object->file, view->offset, view->protection,
                               view->is_copy);
    return view->is_copy ? fill_copy(view) : fill_memory(view);
}

static void *map(struct object *object, DWORD protection, uint64_t offset, size_t bytes, void *at)
{
    bool is_copy = protection == PAGE_WRITECOPY || protection == PAGE_EXECUTE_WRITECOPY;
    if (object->kind == OBJECT_FILE)
        return fail_null(ERROR_INVALID_HANDLE);
    if (offset % GRANULARITY != 0 || (uintptr_t)at % GRANULARITY != 0)
        return fail_null(ERROR_MAPPED_ALIGNMENT);
    if (offset >= object->bytes || bytes > object->bytes - offset)
        return fail_null(bytes == 0 || offset >= object->bytes ? ERROR_INVALID_PARAMETER : ERROR_ACCESS_DENIED);
    if (bytes == 0)
        bytes = object->bytes - offset;
    bytes = round_up(bytes, system_page_bytes());
    struct region view = {
        .first = system_reserve(at, bytes),
        .bytes = bytes,
        .protection = protection,
        .object = object,
        .offset = object->begins + offset,
        .is_copy = is_copy,
        .watches_holes = object->kind == OBJECT_MEMORY && !is_copy && memory_watches_holes(),
    };
    if (view.first == NULL)
        return fail_null(at != NULL ? ERROR_INVALID_ADDRESS : ERROR_NOT_ENOUGH_MEMORY);
    int error = fill(&view);
    face_lock();
    if (error == 0 && region_enter(&view) == NULL)
        error = -ENOMEM;
    if (error == 0)
        (void)object_use(object);
    face_unlock();
    if (error < 0) {
        system_release(view.first, bytes);
        return fail_null(error_of(error));
    }
    return view.first;
}

CAIRN_WIN32_API LPVOID WINAPI MapViewOfFileEx(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                                              DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap, LPVOID lpBaseAddress)
{
    DWORD access = 0;
    struct object *object = handle_use(hFileMappingObject, &access);
    if (object == NULL)
        return NULL;
    DWORD protection = protection_of(dwDesiredAccess, access);
    void *view = object->kind != OBJECT_FILE && protection == 0
                     ? fail_null(ERROR_ACCESS_DENIED)
                     : map(object, protection, (uint64_t)dwFileOffsetHigh << 32 | dwFileOffsetLow, dwNumberOfBytesToMap,
                           lpBaseAddress);
    object_drop(object);
    return view;
}

CAIRN_WIN32_API LPVOID WINAPI MapViewOfFile(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                                            DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap)
{
    return MapViewOfFileEx(hFileMappingObject, dwDesiredAccess, dwFileOffsetHigh, dwFileOffsetLow, dwNumberOfBytesToMap,
                           NULL);
}

CAIRN_WIN32_API BOOL WINAPI UnmapViewOfFile(LPCVOID lpBaseAddress)
{
    face_lock();
    struct region *region = region_at(lpBaseAddress);
    struct object *object = NULL;
    if (region != NULL && region->object != NULL && region->first == lpBaseAddress) {
        object = region->object;
        void *first = region->first;
        size_t bytes = region->bytes;
        region_leave(region);
        system_release(first, bytes);
    }
    face_unlock();
    if (object == NULL)
        return fail(ERROR_INVALID_ADDRESS);
    object_drop(object);
    return TRUE;
}

CAIRN_WIN32_API BOOL WINAPI FlushViewOfFile(LPCVOID lpBaseAddress, SIZE_T dwNumberOfBytesToFlush)
{
    unsigned char *first = NULL;
    size_t bytes = 0;
    face_lock();
    const struct region *region = region_at(lpBaseAddress);
    DWORD error = region == NULL || region->object == NULL ? ERROR_INVALID_ADDRESS : NO_ERROR;
    if (error == NO_ERROR) {
        size_t from = (uintptr_t)lpBaseAddress - (uintptr_t)region->first;
        if (dwNumberOfBytesToFlush > region->bytes - from)
            error = ERROR_INVALID_ADDRESS;
        size_t begin = from / system_page_bytes() * system_page_bytes();
        size_t end = dwNumberOfBytesToFlush != 0 ? from + dwNumberOfBytesToFlush : region->bytes;
        if (error == NO_ERROR && region->object->kind == OBJECT_MAPPED_FILE) {
            first = region->first + begin;
            bytes = round_up(end - begin, system_page_bytes());
        }
    }
    face_unlock();
    if (bytes != 0) /* the disk may take its time; a view that ends meanwhile is the caller's error */
        error = error_of(system_flush(first, bytes));
    return error == NO_ERROR ? TRUE : fail(error);
}
