/* SPDX-License-Identifier: MIT */
/*
 * Ranges of address space: reservations of VirtualAlloc, and views. Each has a byte per page. In a reservation it is 0
 * for a page that is not committed, else the code of its protection. Whether a page of a view is committed the section
 * tells, for all processes; there the byte is 0 as long as the page has the protection that the view was mapped with.
 */
#include <string.h>
#include <unistd.h>

#include "win32/exception.h"
#include "win32/section.h"
#include "win32/system.h"
#include "win32/win32.h"

#define OPENED 0x80 /* in a view that watches holes: this page has been given its access */
#define REFUSED_PROTECTIONS (PAGE_GUARD | PAGE_NOCACHE | PAGE_WRITECOMBINE)

static struct region **regions; /* by address; face_lock */
static size_t region_count, region_room;
static uint64_t openings; /* how often pages of views that watch holes got their access; face_lock */

/* ---------------------------------------------------------------- the table */

/* How many ranges begin at or before an address. */
static size_t count_upto(const void *address)
{
    size_t low = 0;
    for (size_t high = region_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)regions[middle]->first <= (uintptr_t)address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct region *region_at(const void *address)
{
    size_t count = count_upto(address);
    if (count == 0)
        return NULL;
    struct region *region = regions[count - 1];
    return (uintptr_t)address - (uintptr_t)region->first < region->bytes ? region : NULL;
}

static size_t page_count(const struct region *region)
{
    return region->bytes / system_page_bytes();
}

struct region *region_enter(const struct region *given)
{
    if (region_count == region_room) {
        size_t room = region_room == 0 ? 16 : 2 * region_room;
        struct region **table = cairn_realloc(own_heap(), regions, room * sizeof(struct region *));
        if (table == NULL)
            return NULL;
        regions = table;
        region_room = room;
    }
    struct region *region = cairn_alloc(own_heap(), sizeof *region);
    if (region == NULL)
        return NULL;
    *region = *given;
    /* Address space only; what is never touched takes no memory. */
    size_t bytes = round_up(page_count(region), system_page_bytes());
    region->pages = system_reserve(NULL, bytes);
    if (region->pages == NULL || system_protect(region->pages, bytes, PAGE_READWRITE) < 0) {
        if (region->pages != NULL)
            system_release(region->pages, bytes);
        cairn_free(own_heap(), region);
        return NULL;
    }
    size_t place = count_upto(region->first);
    memmove(regions + place + 1, regions + place, (region_count - place) * sizeof *regions);
    regions[place] = region;
    region_count++;
    return region;
}

void region_leave(struct region *region)
{
    size_t place = count_upto(region->first) - 1;
    region_count--;
    memmove(regions + place, regions + place + 1, (region_count - place) * sizeof *regions);
    system_release(region->pages, round_up(page_count(region), system_page_bytes()));
    cairn_free(own_heap(), region);
}

/* ---------------------------------------------------------------- protections */

static const uint8_t protections[] = {0,
                                      PAGE_NOACCESS,
                                      PAGE_READONLY,
                                      PAGE_READWRITE,
                                      PAGE_WRITECOPY,
                                      PAGE_EXECUTE,
                                      PAGE_EXECUTE_READ,
                                      PAGE_EXECUTE_READWRITE,
                                      PAGE_EXECUTE_WRITECOPY};

static uint8_t code_of(DWORD protection)
{
    for (size_t code = 1; code < sizeof protections; code++)
        if (protections[code] == protection)
            return (uint8_t)code;
    return 0;
}

bool protection_is_valid(DWORD protection)
{
    return code_of(protection) != 0;
}

static DWORD protection_at(const struct region *region, size_t page)
{
    uint8_t code = region->pages[page] & (uint8_t)~OPENED;
    return code != 0 ? protections[code] : region->object != NULL ? region->protection : 0;
}

static bool writes(DWORD protection)
{
    return protection == PAGE_READWRITE || protection == PAGE_EXECUTE_READWRITE;
}

static bool executes(DWORD protection)
{
    return protection >= PAGE_EXECUTE;
}

/* May pages of the range get that protection? */
static bool is_allowed(const struct region *region, DWORD protection)
{
    bool copies = protection == PAGE_WRITECOPY || protection == PAGE_EXECUTE_WRITECOPY;
    if (region->object == NULL)
        return !copies;
    if (executes(protection) && !executes(region->protection))
        return false;
    if (writes(protection))
        return writes(region->protection);
    return !copies || region->is_copy;
}

/* ---------------------------------------------------------------- ranges of pages */

struct range {
    struct region *region;
    unsigned char *first;
    size_t bytes;
    size_t page, pages;
    uint64_t offset; /* in the section */
};

/* Widens to pages; false when it is not all in one reservation. */
static bool find_range(struct range *ret_range, void *address, size_t bytes)
{
    const size_t page = system_page_bytes();
    struct region *region = region_at(address);
    if (region == NULL)
        return false;
    size_t from = (uintptr_t)address - (uintptr_t)region->first;
    if (bytes > region->bytes - from)
        return false;
    size_t upto = round_up(from + bytes, page);
    from = from / page * page;
    *ret_range = (struct range){
        .region = region,
        .first = region->first + from,
        .bytes = upto - from,
        .page = from / page,
        .pages = (upto - from) / page,
        .offset = region->offset + from,
    };
    return true;
}

/* Is the page committed, and how many bytes from it on are equal in that? */
static bool is_committed(const struct region *region, size_t page, size_t *ret_run)
{
    const size_t page_bytes = system_page_bytes();
    size_t rest = region->bytes - page * page_bytes;
    if (region->object != NULL && (region->object->kind != OBJECT_MEMORY || region->is_copy)) {
        *ret_run = rest;
        return true;
    }
    if (region->object != NULL) {
        uint64_t run = 0;
        bool committed = cairn_section_query(region->object->section, region->offset + page * page_bytes, &run) == 1;
        *ret_run = run < rest ? run : rest;
        return committed;
    }
    bool committed = region->pages[page] != 0;
    size_t end = page;
    while (end < page_count(region) && (region->pages[end] != 0) == committed)
        end++;
    *ret_run = (end - page) * page_bytes;
    return committed;
}

static bool all_committed(const struct range *range)
{
    size_t run;
    for (size_t done = 0; done < range->bytes; done += run)
        if (!is_committed(range->region, range->page + done / system_page_bytes(), &run))
            return false;
    return true;
}

static DWORD set_protection(const struct range *range, DWORD protection)
{
    int error = system_protect(range->first, range->bytes, protection);
    if (error < 0)
        return error_of(error);
    memset(range->region->pages + range->page, code_of(protection) | (range->region->watches_holes ? OPENED : 0),
           range->pages);
    openings++;
    return NO_ERROR;
}

/* ---------------------------------------------------------------- holes */

/*
 * A page that another process committed gets its access at the first touch. In the signal handler. Of two threads that
 * touch it at once, the second finds it open: it tries again, and what faults a second time, while no page was opened,
 * faults for another reason. So does, as far as can be told, what a handler of the program's touches in the midst of
 * one of our calls.
 */
static bool open_page(uintptr_t address, bool is_write)
{
    static _Thread_local struct {
        uintptr_t address;
        uint64_t openings;
    } tried;
    if (face_is_locked_here())
        return false;
    face_lock();
    bool again = false;
    struct region *region = region_at((void *)address);
    if (region != NULL && region->watches_holes) {
        const size_t page_bytes = system_page_bytes();
        size_t page = (address - (uintptr_t)region->first) / page_bytes, run;
        DWORD protection = protection_at(region, page);
        bool may_be_open = is_committed(region, page, &run) && !(is_write && !writes(protection));
        if (may_be_open && (region->pages[page] & OPENED) != 0) {
            again = tried.address != address || tried.openings != openings;
            tried.address = address;
            tried.openings = openings;
        } else if (may_be_open) {
            again = system_protect(region->first + page * page_bytes, page_bytes, protection) == 0;
            region->pages[page] |= OPENED;
            openings++;
        }
    }
    face_unlock();
    return again;
}

static atomic_u32 watches_holes;

CAIRN_WIN32_API BOOL WINAPI CairnFaultOnHoles(BOOL Enable)
{
    if (Enable)
        exception_watch_holes(open_page);
    return exchange_relaxed(&watches_holes, Enable != FALSE);
}

bool memory_watches_holes(void)
{
    return load_relaxed(&watches_holes) != 0;
}

/* ---------------------------------------------------------------- VirtualAlloc */

static DWORD commit(const struct range *range, DWORD protection)
{
    struct object *object = range->region->object;
    if (!is_allowed(range->region, protection))
        return ERROR_INVALID_PARAMETER;
    if (object != NULL && object->kind == OBJECT_MEMORY && !range->region->is_copy) {
        int error = cairn_section_commit(object->section, range->offset, range->bytes);
        if (error < 0)
            return error == -ENOMEM ? ERROR_COMMITMENT_LIMIT : error_of(error);
    }
    if (object == NULL && range->bytes > system_memory_bytes())
        return ERROR_COMMITMENT_LIMIT;
    return set_protection(range, protection);
}

static void *reserve(void *address, size_t bytes, bool commits, DWORD protection)
{
    const size_t page = system_page_bytes();
    unsigned char *first = NULL;
    if (bytes > ADDRESSES_END)
        return fail_null(ERROR_INVALID_PARAMETER);
    if (address != NULL) {
        first = (unsigned char *)((uintptr_t)address / GRANULARITY * GRANULARITY);
        bytes += (uintptr_t)address - (uintptr_t)first;
        if (first == NULL)
            return fail_null(ERROR_INVALID_ADDRESS);
    }
    bytes = round_up(bytes, page);
    unsigned char *got = system_reserve(first, bytes);
    if (got == NULL)
        return fail_null(address != NULL ? ERROR_INVALID_ADDRESS : ERROR_NOT_ENOUGH_MEMORY);
    face_lock();
    struct region *region = region_enter(&(struct region){.first = got, .bytes = bytes, .protection = protection});
    DWORD error = region == NULL ? ERROR_NOT_ENOUGH_MEMORY : NO_ERROR;
    if (error == NO_ERROR && commits) {
        struct range range = {0};
        error = find_range(&range, got, bytes) ? commit(&range, protection) : ERROR_INVALID_ADDRESS;
        if (error != NO_ERROR)
            region_leave(region);
    }
    face_unlock();
    if (error != NO_ERROR) {
        system_release(got, bytes);
        return fail_null(error);
    }
    return got;
}

static DWORD reset(const struct range *range, void *address, size_t bytes)
{
    const struct object *object = range->region->object;
    if (object != NULL && object->kind != OBJECT_MEMORY)
        return ERROR_INVALID_PARAMETER; /* a file keeps its contents */
    if (object != NULL && !range->region->is_copy) {
        size_t run;
        for (size_t done = 0; done < range->bytes; done += run) {
            bool committed = is_committed(range->region, range->page + done / system_page_bytes(), &run);
            run = run < range->bytes - done ? run : range->bytes - done;
            if (committed && cairn_section_reset(object->section, range->offset + done, run) < 0)
                return ERROR_ACCESS_DENIED;
        }
        return NO_ERROR;
    }
    if (!all_committed(range))
        return ERROR_INVALID_ADDRESS;
    uintptr_t first = round_up((uintptr_t)address, system_page_bytes());
    uintptr_t end = ((uintptr_t)address + bytes) / system_page_bytes() * system_page_bytes();
    return first < end ? error_of(system_discard((void *)first, end - first)) : NO_ERROR;
}

static DWORD check_alloc(DWORD type, DWORD protection, size_t bytes)
{
    const DWORD refused = MEM_WRITE_WATCH | MEM_PHYSICAL | MEM_LARGE_PAGES;
    const DWORD known = MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_RESET_UNDO | MEM_TOP_DOWN | refused;
    if (bytes == 0 || (type & ~known) != 0 || (type & (MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_RESET_UNDO)) == 0)
        return ERROR_INVALID_PARAMETER;
    if ((type & refused) != 0 || (protection & REFUSED_PROTECTIONS) != 0)
        return ERROR_NOT_SUPPORTED;
    if (!protection_is_valid(protection) || ((type & (MEM_RESET | MEM_RESET_UNDO)) != 0 && (type & (type - 1)) != 0))
        return ERROR_INVALID_PARAMETER;
    return NO_ERROR;
}

CAIRN_WIN32_API LPVOID WINAPI VirtualAlloc(LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect)
{
    DWORD error = own_heap() == NULL ? ERROR_NOT_ENOUGH_MEMORY : check_alloc(flAllocationType, flProtect, dwSize);
    if (error != NO_ERROR)
        return fail_null(error);
    bool commits = (flAllocationType & MEM_COMMIT) != 0;
    if ((flAllocationType & MEM_RESERVE) || (commits && lpAddress == NULL)) {
        if (flProtect == PAGE_WRITECOPY || flProtect == PAGE_EXECUTE_WRITECOPY)
            return fail_null(ERROR_INVALID_PARAMETER);
        return reserve(lpAddress, dwSize, commits, flProtect);
    }
    face_lock();
    struct range range = {.first = NULL};
    if (!find_range(&range, lpAddress, dwSize))
        error = ERROR_INVALID_ADDRESS;
    else if (commits)
        error = commit(&range, flProtect);
    else
        error = flAllocationType == MEM_RESET ? reset(&range, lpAddress, dwSize) : ERROR_NOT_SUPPORTED;
    face_unlock();
    return error == NO_ERROR ? range.first : fail_null(error);
}

/* ---------------------------------------------------------------- VirtualFree, VirtualProtect */

static DWORD decommit(void *address, size_t bytes)
{
    struct range range = {0};
    struct region *region = region_at(address);
    if (bytes == 0 && address != region->first)
        return ERROR_INVALID_ADDRESS;
    if (!find_range(&range, address, bytes == 0 ? region->bytes : bytes))
        return ERROR_INVALID_PARAMETER;
    int error = system_decommit(range.first, range.bytes);
    if (error < 0)
        return error_of(error);
    memset(region->pages + range.page, 0, range.pages);
    return NO_ERROR;
}

static DWORD release(void *address, size_t bytes)
{
    struct region *region = region_at(address);
    if (bytes != 0)
        return ERROR_INVALID_PARAMETER;
    if (address != region->first)
        return ERROR_INVALID_ADDRESS;
    /* Before the address space is free, and another may get it and enter it. */
    size_t whole = region->bytes;
    region_leave(region);
    system_release(address, whole);
    return NO_ERROR;
}

CAIRN_WIN32_API BOOL WINAPI VirtualFree(LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType)
{
    if (dwFreeType != MEM_DECOMMIT && dwFreeType != MEM_RELEASE)
        return fail(ERROR_INVALID_PARAMETER);
    face_lock();
    struct region *region = region_at(lpAddress);
    DWORD error = region == NULL               ? ERROR_INVALID_ADDRESS
                  : region->object != NULL     ? ERROR_INVALID_PARAMETER
                  : dwFreeType == MEM_DECOMMIT ? decommit(lpAddress, dwSize)
                                               : release(lpAddress, dwSize);
    face_unlock();
    return error == NO_ERROR ? TRUE : fail(error);
}

CAIRN_WIN32_API BOOL WINAPI VirtualProtect(LPVOID lpAddress, SIZE_T dwSize, DWORD flNewProtect, PDWORD lpflOldProtect)
{
    if (lpflOldProtect == NULL)
        return fail(ERROR_NOACCESS);
    if (flNewProtect & REFUSED_PROTECTIONS)
        return fail(ERROR_NOT_SUPPORTED);
    if (dwSize == 0 || !protection_is_valid(flNewProtect))
        return fail(ERROR_INVALID_PARAMETER);
    face_lock();
    struct range range = {0};
    DWORD error = NO_ERROR, old = 0;
    if (!find_range(&range, lpAddress, dwSize) || !all_committed(&range))
        error = ERROR_INVALID_ADDRESS;
    else if (!is_allowed(range.region, flNewProtect))
        error = ERROR_INVALID_PARAMETER;
    else {
        old = protection_at(range.region, range.page);
        error = set_protection(&range, flNewProtect);
    }
    face_unlock();
    if (error != NO_ERROR)
        return fail(error);
    *lpflOldProtect = old;
    return TRUE;
}

/* ---------------------------------------------------------------- VirtualQuery, GetSystemInfo */

static void query_region(const struct region *region, size_t page, MEMORY_BASIC_INFORMATION *ret)
{
    const size_t page_bytes = system_page_bytes();
    size_t run;
    bool committed = is_committed(region, page, &run);
    DWORD protection = protection_at(region, page);
    size_t end = page + 1;
    while (committed && end < page + run / page_bytes && protection_at(region, end) == protection)
        end++;
    *ret = (MEMORY_BASIC_INFORMATION){
        .BaseAddress = region->first + page * page_bytes,
        .AllocationBase = region->first,
        .AllocationProtect = region->protection,
        .RegionSize = committed ? (end - page) * page_bytes : run,
        .State = committed ? MEM_COMMIT : MEM_RESERVE,
        .Protect = committed ? protection : 0,
        .Type = region->object != NULL ? MEM_MAPPED : MEM_PRIVATE,
    };
}

static BOOL query_system(uintptr_t address, MEMORY_BASIC_INFORMATION *ret)
{
    struct system_region found;
    if (system_region_at(address, &found) < 0)
        return FALSE;
    uintptr_t page = address / system_page_bytes() * system_page_bytes();
    if (found.end > ADDRESSES_USED_END)
        found.end = ADDRESSES_USED_END;
    *ret = (MEMORY_BASIC_INFORMATION){
        .BaseAddress = (PVOID)page,
        .AllocationBase = found.is_free ? NULL : (PVOID)found.first,
        .AllocationProtect = found.is_free ? 0 : found.protection,
        .RegionSize = found.end - page,
        .State = found.is_free ? MEM_FREE : MEM_COMMIT,
        .Protect = found.protection,
        .Type = found.is_free      ? 0
                : found.is_private ? MEM_PRIVATE
                : found.is_image   ? MEM_IMAGE
                                   : MEM_MAPPED,
    };
    return TRUE;
}

CAIRN_WIN32_API SIZE_T WINAPI VirtualQuery(LPCVOID lpAddress, PMEMORY_BASIC_INFORMATION lpBuffer, SIZE_T dwLength)
{
    if (dwLength < sizeof *lpBuffer)
        return (SIZE_T)fail(ERROR_BAD_LENGTH);
    if (lpBuffer == NULL)
        return (SIZE_T)fail(ERROR_NOACCESS);
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    if ((uintptr_t)lpAddress > (uintptr_t)info.lpMaximumApplicationAddress)
        return (SIZE_T)fail(ERROR_INVALID_PARAMETER);
    MEMORY_BASIC_INFORMATION told; /* the caller's buffer may have no memory behind it: not under the lock */
    face_lock();
    const struct region *region = region_at(lpAddress);
    if (region != NULL)
        query_region(region, ((uintptr_t)lpAddress - (uintptr_t)region->first) / system_page_bytes(), &told);
    face_unlock();
    if (region == NULL && !query_system((uintptr_t)lpAddress, &told))
        return (SIZE_T)fail(ERROR_NOT_ENOUGH_MEMORY);
    *lpBuffer = told;
    return sizeof told;
}

CAIRN_WIN32_API void WINAPI GetSystemInfo(LPSYSTEM_INFO lpSystemInfo)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *lpSystemInfo = (SYSTEM_INFO){
        .dwPageSize = (DWORD)system_page_bytes(),
        .lpMinimumApplicationAddress = (LPVOID)GRANULARITY,
        .lpMaximumApplicationAddress = (LPVOID)(ADDRESSES_USED_END - 1),
        .dwActiveProcessorMask = processors >= 64 ? ~(DWORD_PTR)0 : ((DWORD_PTR)1 << processors) - 1,
        .dwNumberOfProcessors = processors > 0 ? (DWORD)processors : 1,
        .dwAllocationGranularity = (DWORD)GRANULARITY,
    };
#if defined(__x86_64__)
    lpSystemInfo->wProcessorArchitecture = PROCESSOR_ARCHITECTURE_AMD64;
    lpSystemInfo->dwProcessorType = 8664;
#elif defined(__aarch64__)
    lpSystemInfo->wProcessorArchitecture = PROCESSOR_ARCHITECTURE_ARM64;
#else
    lpSystemInfo->wProcessorArchitecture = PROCESSOR_ARCHITECTURE_UNKNOWN;
#endif
}
