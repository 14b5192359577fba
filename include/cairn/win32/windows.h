/* SPDX-License-Identifier: MIT */
/*
 * The Win32 calls that belong to memory, for programs written to them, on Linux: heaps, sections (file mappings),
 * virtual memory, the last error, and structured exceptions for memory. Nothing else of Windows is here.
 *
 *     cc -I .../include/cairn/win32 program.c -lcairn-win32
 *
 * A program whose entry is wmain also takes -lcairn-win32-main. Types have the sizes of 64-bit Windows: DWORD and LONG
 * 32 bits, WCHAR 16 bits (write u"" in C, or compile with -fshort-wchar to write L"").
 *
 * What each call promises is what Microsoft's public reference tells; docs/win32.md says call by call what is the same,
 * different and absent. A call that fails sets the last error of its thread, by the names below; one that succeeds
 * leaves it, unless its text says otherwise. Beside the errors that stand with a call, ERROR_NOT_ENOUGH_MEMORY is given
 * by every call that needs memory for its bookkeeping, and ERROR_INVALID_HANDLE by every call with a handle that is
 * none of its kind. A double free and a pointer that is no block end the program with one line that names the crime,
 * as a Windows process with termination on corruption ends.
 *
 * A heap made here is a heap of cairn: cairn_win32_heap tells which.
 */
#ifndef CAIRN_WIN32_WINDOWS_H
#define CAIRN_WIN32_WINDOWS_H

/* The macros of structured exceptions go beyond ISO C; so their users compile with -Wpedantic, too. */
#if defined(__GNUC__)
#pragma GCC system_header
#endif

#if defined(__cplusplus) && defined(CAIRN_WIN32_SEH) && __has_include(<bits/stdc++.h>)
#include <bits/stdc++.h> /* while __try is still its own */
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CAIRN_WIN32_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- types */

#define WINAPI
#define APIENTRY
#define CALLBACK
#ifndef __cdecl
#define __cdecl
#endif
#ifndef __stdcall
#define __stdcall
#endif
#define VOID void
#define CONST const
#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif
#define MAX_PATH 260

typedef uint8_t BYTE, *PBYTE, *LPBYTE, UCHAR, BOOLEAN;
typedef uint16_t WORD, *PWORD, *LPWORD, USHORT;
typedef uint32_t DWORD, *PDWORD, *LPDWORD;
typedef uint32_t ULONG, *PULONG;
typedef int32_t LONG, *PLONG;
typedef int16_t SHORT;
typedef int32_t INT;
typedef uint32_t UINT;
typedef int BOOL, *PBOOL, *LPBOOL;
typedef int64_t LONGLONG;
typedef uint64_t ULONGLONG;
typedef uint64_t DWORD64;
typedef uintptr_t ULONG_PTR, *PULONG_PTR, DWORD_PTR, UINT_PTR;
typedef intptr_t LONG_PTR, INT_PTR;
typedef size_t SIZE_T, *PSIZE_T;
typedef ptrdiff_t SSIZE_T;
typedef char CHAR, *PSTR, *LPSTR;
typedef const char *PCSTR, *LPCSTR;
typedef void *PVOID, *LPVOID, *HANDLE, *HLOCAL, *HGLOBAL;
typedef const void *LPCVOID;
typedef HANDLE *PHANDLE, *LPHANDLE;
#if defined(__cplusplus) && __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR, *PWSTR, *LPWSTR;
typedef const wchar_t *PCWSTR, *LPCWSTR;
#elif defined(__cplusplus)
typedef char16_t WCHAR, *PWSTR, *LPWSTR;
typedef const char16_t *PCWSTR, *LPCWSTR;
#else
typedef uint16_t WCHAR, *PWSTR, *LPWSTR;
typedef const uint16_t *PCWSTR, *LPCWSTR;
#endif

/* Text of the calls that have an A and a W: W with UNICODE. */
#ifdef UNICODE
typedef WCHAR TCHAR, *LPTSTR;
typedef LPCWSTR LPCTSTR;
#if __SIZEOF_WCHAR_T__ == 2
#define CAIRN_TEXT(quote) L##quote
#else
#define CAIRN_TEXT(quote) u##quote
#endif
#else
typedef CHAR TCHAR, *LPTSTR;
typedef LPCSTR LPCTSTR;
#define CAIRN_TEXT(quote) quote
#endif
#ifndef TEXT
#define TEXT(quote) CAIRN_TEXT(quote)
#endif

#define CopyMemory(to, from, bytes) memcpy((to), (from), (bytes))
#define MoveMemory(to, from, bytes) memmove((to), (from), (bytes))
#define FillMemory(to, bytes, byte) memset((to), (byte), (bytes))
#define ZeroMemory(to, bytes) memset((to), 0, (bytes))

#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)

typedef struct _SECURITY_ATTRIBUTES {
    DWORD nLength;
    LPVOID lpSecurityDescriptor; /* NULL; anything else is ERROR_NOT_SUPPORTED */
    BOOL bInheritHandle;
} SECURITY_ATTRIBUTES, *PSECURITY_ATTRIBUTES, *LPSECURITY_ATTRIBUTES;

/* ---------------------------------------------------------------- the last error */

#define ERROR_SUCCESS 0u
#define NO_ERROR 0u
#define ERROR_FILE_NOT_FOUND 2u
#define ERROR_PATH_NOT_FOUND 3u
#define ERROR_ACCESS_DENIED 5u
#define ERROR_INVALID_HANDLE 6u
#define ERROR_NOT_ENOUGH_MEMORY 8u
#define ERROR_GEN_FAILURE 31u
#define ERROR_NOT_SUPPORTED 50u
#define ERROR_INVALID_PARAMETER 87u
#define ERROR_DISK_FULL 112u
#define ERROR_INSUFFICIENT_BUFFER 122u
#define ERROR_INVALID_NAME 123u
#define ERROR_NOT_LOCKED 158u
#define ERROR_BUSY 170u
#define ERROR_ALREADY_EXISTS 183u
#define ERROR_FILENAME_EXCED_RANGE 206u
#define ERROR_NO_MORE_ITEMS 259u
#define ERROR_INVALID_ADDRESS 487u
#define ERROR_NOACCESS 998u
#define ERROR_FILE_INVALID 1006u
#define ERROR_MAPPED_ALIGNMENT 1132u
#define ERROR_COMMITMENT_LIMIT 1455u

/* Tells and sets the last error of the calling thread; a new thread's is NO_ERROR. */
CAIRN_WIN32_API DWORD WINAPI GetLastError(void);
CAIRN_WIN32_API void WINAPI SetLastError(DWORD dwErrCode);

/* ---------------------------------------------------------------- heaps */

#define HEAP_NO_SERIALIZE 0x00000001u
#define HEAP_GROWABLE 0x00000002u
#define HEAP_GENERATE_EXCEPTIONS 0x00000004u
#define HEAP_ZERO_MEMORY 0x00000008u
#define HEAP_REALLOC_IN_PLACE_ONLY 0x00000010u
#define HEAP_TAIL_CHECKING_ENABLED 0x00000020u
#define HEAP_FREE_CHECKING_ENABLED 0x00000040u
#define HEAP_DISABLE_COALESCE_ON_FREE 0x00000080u
#define HEAP_SHARED_READONLY 0x00001000u /* Windows CE; its value stands in no public page. See below */
#define HEAP_CREATE_ALIGN_16 0x00010000u
#define HEAP_CREATE_ENABLE_EXECUTE 0x00040000u

/*
 * Creates a heap. dwInitialSize, rounded up to a page (0: one page), is committed: success means that this memory is
 * there. dwMaximumSize 0: the heap grows. Else it is rounded up to a page (two pages at least) and reserved, the heap's
 * own bookkeeping comes out of it, and no block may be larger than the personality's limit.
 * What is committed in a heap with a maximum stays so until HeapCompact.
 * HEAP_TAIL_CHECKING_ENABLED or HEAP_FREE_CHECKING_ENABLED: stray writes are looked for (cairn's checked heaps).
 * HEAP_SHARED_READONLY: others can open it and read, see CairnSharedHeapCreate; not with HEAP_CREATE_ENABLE_EXECUTE or
 * the checking flags. Errors: ERROR_INVALID_PARAMETER (the initial size is above the maximum; flags that do not go
 * together, or that the personality does not know), ERROR_NOT_ENOUGH_MEMORY; those of CairnSharedHeapCreate.
 */
CAIRN_WIN32_API HANDLE WINAPI HeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize);

/* Ends a heap with every block in it; of a shared heap that was opened, the view. Errors: ERROR_INVALID_HANDLE (no
 * heap, or the process heap). */
CAIRN_WIN32_API BOOL WINAPI HeapDestroy(HANDLE hHeap);

/*
 * Allocates dwBytes, aligned to 16; 0 gives a distinct block of size 0. HEAP_ZERO_MEMORY: they are zero. Returns NULL
 * with ERROR_NOT_ENOUGH_MEMORY, or raises STATUS_NO_MEMORY where HEAP_GENERATE_EXCEPTIONS is set, here or in the heap.
 */
CAIRN_WIN32_API LPVOID WINAPI HeapAlloc(HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes);

/*
 * Changes a block's size; the contents stay up to the smaller one, and on failure the block is as it was.
 * HEAP_ZERO_MEMORY: what lies beyond the old size is zero. HEAP_REALLOC_IN_PLACE_ONLY: the block does not move.
 * NULL is never allocated: NULL is returned, and the last error is NO_ERROR. Errors as HeapAlloc.
 */
CAIRN_WIN32_API LPVOID WINAPI HeapReAlloc(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes);

/* Frees a block; NULL is allowed. */
CAIRN_WIN32_API BOOL WINAPI HeapFree(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem);

/* Returns exactly what was asked for; (SIZE_T)-1 for NULL and for a handle that is none. */
CAIRN_WIN32_API SIZE_T WINAPI HeapSize(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem);

/* Tells whether lpMem is a live block of the heap, in a checked one also whether nothing was written beside it; for
 * NULL, whether the heap is sound, which takes as long as a walk. Sets no error. */
CAIRN_WIN32_API BOOL WINAPI HeapValidate(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem);

/*
 * Gives memory that holds no block back to the system. Returns the size of the largest free block that is committed; 0
 * with NO_ERROR when there is none.
 */
CAIRN_WIN32_API SIZE_T WINAPI HeapCompact(HANDLE hHeap, DWORD dwFlags);

/*
 * Stops a heap for all other threads, and lets it go on; as often as it was locked. Of a heap without serialization
 * both return TRUE and lock nothing. HeapUnlock: ERROR_NOT_LOCKED (this thread does not hold it).
 */
CAIRN_WIN32_API BOOL WINAPI HeapLock(HANDLE hHeap);
CAIRN_WIN32_API BOOL WINAPI HeapUnlock(HANDLE hHeap);

#define PROCESS_HEAP_REGION 0x0001u
#define PROCESS_HEAP_UNCOMMITTED_RANGE 0x0002u
#define PROCESS_HEAP_ENTRY_BUSY 0x0004u
#define PROCESS_HEAP_ENTRY_MOVEABLE 0x0010u
#define PROCESS_HEAP_ENTRY_DDESHARE 0x0020u

typedef struct _PROCESS_HEAP_ENTRY {
    PVOID lpData;
    DWORD cbData; /* busy: what was asked for; the low 32 bits */
    BYTE cbOverhead;
    BYTE iRegionIndex;
    WORD wFlags;
    __extension__ union {
        struct {
            HANDLE hMem;
            DWORD dwReserved[3];
        } Block;
        struct {
            DWORD dwCommittedSize; /* 0xffffffff when larger */
            DWORD dwUnCommittedSize;
            LPVOID lpFirstBlock;
            LPVOID lpLastBlock;
        } Region;
    };
} PROCESS_HEAP_ENTRY, *PPROCESS_HEAP_ENTRY, *LPPROCESS_HEAP_ENTRY;

/*
 * Tells what lies in a heap, one entry per call; lpData NULL begins. First the region, then in the order of addresses
 * blocks, what is free and committed, and in a heap with a maximum what is not committed; then blocks of 0xff000 bytes
 * and more. Exact while the heap is locked. At the end: ERROR_NO_MORE_ITEMS. ERROR_INVALID_PARAMETER: no entry, or a
 * checked heap in which something was written beside a block.
 */
CAIRN_WIN32_API BOOL WINAPI HeapWalk(HANDLE hHeap, LPPROCESS_HEAP_ENTRY lpEntry);

/* Returns the process's own heap, which grows; it is made at the first use. */
CAIRN_WIN32_API HANDLE WINAPI GetProcessHeap(void);

/* Stores the handles of the first NumberOfHeaps heaps, the process heap first, then by age; returns how many there are.
 */
CAIRN_WIN32_API DWORD WINAPI GetProcessHeaps(DWORD NumberOfHeaps, PHANDLE ProcessHeaps);

typedef enum _HEAP_INFORMATION_CLASS {
    HeapCompatibilityInformation = 0,
    HeapEnableTerminationOnCorruption = 1,
    HeapOptimizeResources = 3
} HEAP_INFORMATION_CLASS;

typedef struct _HEAP_OPTIMIZE_RESOURCES_INFORMATION {
    DWORD Version; /* 1 */
    DWORD Flags;   /* 0 */
} HEAP_OPTIMIZE_RESOURCES_INFORMATION;
#define HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION 1u

/*
 * HeapCompatibilityInformation: 2 is taken note of, once and for ever (then ERROR_GEN_FAILURE for any other value),
 * and changes nothing: every heap here is one of low fragmentation; ERROR_INVALID_PARAMETER for a heap without
 * serialization. HeapEnableTerminationOnCorruption: TRUE, it always is so. HeapOptimizeResources: gives free memory of
 * one heap, or for NULL of the process heap, back.
 */
CAIRN_WIN32_API BOOL WINAPI HeapSetInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                               PVOID HeapInformation, SIZE_T HeapInformationLength);

/* Tells the ULONG of HeapCompatibilityInformation. Errors: ERROR_INSUFFICIENT_BUFFER, ERROR_NOACCESS (no heap). */
CAIRN_WIN32_API BOOL WINAPI HeapQueryInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                                 PVOID HeapInformation, SIZE_T HeapInformationLength,
                                                 PSIZE_T ReturnLength);

typedef struct _HEAP_SUMMARY {
    DWORD cb; /* sizeof(HEAP_SUMMARY) */
    SIZE_T cbAllocated;
    SIZE_T cbCommitted;
    SIZE_T cbReserved;
    SIZE_T cbMaxReserve;
} HEAP_SUMMARY, *PHEAP_SUMMARY, *LPHEAP_SUMMARY;

/* Tells the sizes of a heap. Errors: ERROR_INVALID_PARAMETER (cb, or flags other than 0). */
CAIRN_WIN32_API BOOL WINAPI HeapSummary(HANDLE hHeap, DWORD dwFlags, LPHEAP_SUMMARY lpSummary);

/* ---------------------------------------------------------------- heaps of Windows CE and of eRTOS */

/*
 * Memory of the caller's for CeHeapCreate. Allocate: MEM_RESERVE returns cb bytes (pAddr is a hint), and may keep a
 * word in *pdwUserData; MEM_COMMIT makes cb bytes at pAddr usable. Free: MEM_DECOMMIT cb bytes at pAddr, MEM_RELEASE
 * the whole reservation, cb 0. Addresses are multiples of a page. MEM_COMMIT and MEM_DECOMMIT are called with locks
 * held and must make no call of a heap.
 */
typedef LPVOID(WINAPI *PFN_AllocHeapMem)(LPVOID pAddr, DWORD cb, DWORD fdwAction, LPDWORD pdwUserData);
typedef BOOL(WINAPI *PFN_FreeHeapMem)(LPVOID pAddr, DWORD cb, DWORD fdwAction, DWORD dwUserData);

/* The same with a word that holds a pointer, and sizes above 4 GiB. */
typedef LPVOID(WINAPI *PFN_CairnAllocHeapMem)(LPVOID pAddr, SIZE_T cb, DWORD fdwAction, ULONG_PTR *pUserData);
typedef BOOL(WINAPI *PFN_CairnFreeHeapMem)(LPVOID pAddr, SIZE_T cb, DWORD fdwAction, ULONG_PTR UserData);

/*
 * Creates a heap in the caller's memory. flOptions is 0 or HEAP_NO_SERIALIZE. dwMaximumSize is reserved at once; 0: 1
 * GiB. Errors: ERROR_INVALID_PARAMETER (a callback is NULL, other flags, an initial size above the maximum, a
 * reservation that is not aligned to a page), ERROR_NOT_ENOUGH_MEMORY (a callback refused).
 */
CAIRN_WIN32_API HANDLE WINAPI CeHeapCreate(DWORD flOptions, DWORD dwInitialSize, DWORD dwMaximumSize,
                                           PFN_AllocHeapMem pfnAlloc, PFN_FreeHeapMem pfnFree);
CAIRN_WIN32_API HANDLE WINAPI CairnCeHeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize,
                                                PFN_CairnAllocHeapMem pfnAlloc, PFN_CairnFreeHeapMem pfnFree);

/*
 * Shared heaps, HEAP_SHARED_READONLY. The creating process allocates and writes; others open the heap by its name, and
 * find its blocks at the same addresses, which they can read. Their stores fault, and the kernel keeps them from ever
 * getting the right to write; every call that would change the heap or look into its bookkeeping is
 * ERROR_ACCESS_DENIED, in a forked child of the creator, too. Such a heap is a published one: cairn_publish.h tells how
 * it is protected, how readers keep what they read from being used again (cairn_win32_reader), and how they find the
 * first block (cairn_root_set, cairn_reader_root). It is always serialized. It takes memory from 1 MiB of dwMaximumSize
 * on; with 0 it ends at 1 GiB. A block is not made smaller in place, and a freed one can be had again when no reader
 * may be reading it. HeapDestroy, or the end of the creator, ends the name; who has the heap open keeps what was there.
 */
#define CAIRN_EVERYONE 0x1u /* whoever can reach the name may read */

/* Who may read, beside the processes of the creator's user. */
typedef struct _CAIRN_HEAP_READERS {
    DWORD cb;              /* sizeof(CAIRN_HEAP_READERS) */
    DWORD dwFlags;         /* CAIRN_EVERYONE or 0 */
    LPCSTR lpDirectory;    /* where the name lies, to be reached by the readers; NULL: CAIRN_DIR, or this user's own */
    const DWORD *lpUsers;  /* by their numbers (uid_t) */
    const DWORD *lpGroups; /* (gid_t) */
    DWORD nUsers;
    DWORD nGroups;
} CAIRN_HEAP_READERS, *PCAIRN_HEAP_READERS;

/*
 * As HeapCreate with HEAP_SHARED_READONLY, and with a name, which is one of cairn's (cairn.h), and a list of readers;
 * either may be NULL: a name is made, and only this user's processes may read. Errors: also ERROR_ALREADY_EXISTS (the
 * heap of that name lives), ERROR_INVALID_HANDLE (the name is that of something else), ERROR_INVALID_PARAMETER (the
 * name, the list), ERROR_FILE_NOT_FOUND (the directory), ERROR_ACCESS_DENIED, ERROR_FILENAME_EXCED_RANGE,
 * ERROR_NOT_SUPPORTED (a system without sealed files or without /proc).
 */
CAIRN_WIN32_API HANDLE WINAPI CairnSharedHeapCreate(LPCSTR lpName, DWORD flOptions, SIZE_T dwInitialSize,
                                                    SIZE_T dwMaximumSize, const CAIRN_HEAP_READERS *lpReaders);

#define CAIRN_ANY_CREATOR                                                                                              \
    0x1u /* also a heap of another user than this one and root: what is read then is that user's */

/*
 * Opens a shared heap for reading, once for each thread that reads. HeapDestroy ends it. lpDirectory is the creator's.
 * Errors: ERROR_FILE_NOT_FOUND (no such heap lives), ERROR_ACCESS_DENIED (this user is not let in; another user's heap
 * without CAIRN_ANY_CREATOR), ERROR_BUSY (it has all its readers, or does not answer), ERROR_INVALID_ADDRESS (something
 * lies at the heap's address: in its creator the heap itself), ERROR_INVALID_HANDLE (the name is that of something
 * else), ERROR_INVALID_PARAMETER, ERROR_FILENAME_EXCED_RANGE.
 */
CAIRN_WIN32_API HANDLE WINAPI CairnSharedHeapOpen(LPCSTR lpName, LPCSTR lpDirectory, DWORD dwFlags);

/* Stores the name of a shared heap and returns its length; 0 with ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_HANDLE. */
CAIRN_WIN32_API DWORD WINAPI CairnSharedHeapName(HANDLE hHeap, LPSTR lpName, DWORD nSize);

/* Returns what cairn_publish.h calls the publisher of a shared heap that was created here, the reader of one that was
 * opened; NULL with ERROR_INVALID_HANDLE. Only HeapDestroy ends them. */
CAIRN_WIN32_API struct cairn_publisher *cairn_win32_publisher(HANDLE hHeap);
CAIRN_WIN32_API struct cairn_reader *cairn_win32_reader(HANDLE hHeap);

/*
 * Whose rules HeapCreate follows. DESKTOP: blocks of a heap with a maximum are smaller than 0xff000. DESKTOP_7FFF8: the
 * limit of the HeapAlloc page, smaller than 0x7fff8. ERTOS: the same limit, the initial size is ignored, and of the
 * flags only HEAP_GENERATE_EXCEPTIONS and HEAP_NO_SERIALIZE exist. UNLIMITED: blocks as large as the heap.
 */
#define CAIRN_DESKTOP 0u
#define CAIRN_DESKTOP_7FFF8 1u
#define CAIRN_ERTOS 2u
#define CAIRN_UNLIMITED 3u

/* Sets the rules for heaps that are created from now on, and returns those before; 0xffffffff for an unknown value. */
CAIRN_WIN32_API DWORD WINAPI CairnSetPersonality(DWORD Personality);

/* As HeapCreate, by the rules that are given. Errors: also ERROR_INVALID_PARAMETER (the rules are unknown). */
CAIRN_WIN32_API HANDLE WINAPI CairnHeapCreate(DWORD Personality, DWORD flOptions, SIZE_T dwInitialSize,
                                              SIZE_T dwMaximumSize);

/* Returns the heap of cairn behind a handle, NULL with ERROR_INVALID_HANDLE (ERROR_ACCESS_DENIED of a shared heap that
 * was opened). Only HeapDestroy ends it. */
CAIRN_WIN32_API struct cairn_heap *cairn_win32_heap(HANDLE hHeap);

/* ---------------------------------------------------------------- virtual memory */

#define PAGE_NOACCESS 0x01u
#define PAGE_READONLY 0x02u
#define PAGE_READWRITE 0x04u
#define PAGE_WRITECOPY 0x08u
#define PAGE_EXECUTE 0x10u
#define PAGE_EXECUTE_READ 0x20u
#define PAGE_EXECUTE_READWRITE 0x40u
#define PAGE_EXECUTE_WRITECOPY 0x80u
#define PAGE_GUARD 0x100u
#define PAGE_NOCACHE 0x200u
#define PAGE_WRITECOMBINE 0x400u

#define MEM_COMMIT 0x00001000u
#define MEM_RESERVE 0x00002000u
#define MEM_DECOMMIT 0x00004000u
#define MEM_RELEASE 0x00008000u
#define MEM_FREE 0x00010000u
#define MEM_PRIVATE 0x00020000u
#define MEM_MAPPED 0x00040000u
#define MEM_RESET 0x00080000u
#define MEM_TOP_DOWN 0x00100000u
#define MEM_WRITE_WATCH 0x00200000u
#define MEM_PHYSICAL 0x00400000u
#define MEM_RESET_UNDO 0x01000000u
#define MEM_IMAGE 0x01000000u
#define MEM_LARGE_PAGES 0x20000000u

/*
 * Reserves address space (aligned to 64 KiB), commits pages of it or of a view, or resets pages. Committing pages of a
 * view commits them in the section, for every process that has it, also through a view that may only read; the
 * protection is that of this view alone. MEM_RESET (alone): the contents of whole pages are not wanted, and read as
 * before or as zero. MEM_RESET_UNDO: always refused, since nothing is kept. MEM_TOP_DOWN is allowed and has no effect.
 * Errors: ERROR_INVALID_PARAMETER (size 0 or above all addresses, a protection, flags; write access to a view that may
 * not write), ERROR_INVALID_ADDRESS (not reserved, taken, or not all in one reservation), ERROR_NOT_ENOUGH_MEMORY,
 * ERROR_COMMITMENT_LIMIT (a section's memory is not to be had; more than the machine has), ERROR_ACCESS_DENIED (this
 * user may not write to the section), ERROR_NOT_SUPPORTED (MEM_WRITE_WATCH, MEM_PHYSICAL, MEM_LARGE_PAGES, PAGE_GUARD,
 * PAGE_NOCACHE, PAGE_WRITECOMBINE, MEM_RESET_UNDO).
 */
CAIRN_WIN32_API LPVOID WINAPI VirtualAlloc(LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect);

/*
 * MEM_DECOMMIT: gives pages back that stay reserved (size 0: all of the reservation). MEM_RELEASE: ends a reservation;
 * dwSize is 0, lpAddress its first byte. Errors: ERROR_INVALID_PARAMETER (a view, the type, a size with MEM_RELEASE),
 * ERROR_INVALID_ADDRESS.
 */
CAIRN_WIN32_API BOOL WINAPI VirtualFree(LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType);

/*
 * Changes the protection of committed pages and tells that of the first one before. Errors: ERROR_INVALID_PARAMETER (a
 * protection, or more than the view may), ERROR_INVALID_ADDRESS (not all committed, not of one reservation),
 * ERROR_NOACCESS (lpflOldProtect is NULL).
 */
CAIRN_WIN32_API BOOL WINAPI VirtualProtect(LPVOID lpAddress, SIZE_T dwSize, DWORD flNewProtect, PDWORD lpflOldProtect);

typedef struct _MEMORY_BASIC_INFORMATION {
    PVOID BaseAddress;
    PVOID AllocationBase;
    DWORD AllocationProtect;
    WORD PartitionId;
    SIZE_T RegionSize;
    DWORD State;
    DWORD Protect;
    DWORD Type;
} MEMORY_BASIC_INFORMATION, *PMEMORY_BASIC_INFORMATION;

/*
 * Tells the state of the page at an address, and how far it goes; whatever the address is in this process. Returns
 * sizeof(MEMORY_BASIC_INFORMATION), or 0 with ERROR_INVALID_PARAMETER (no address of a program), ERROR_BAD_LENGTH,
 * ERROR_NOACCESS (no buffer).
 */
CAIRN_WIN32_API SIZE_T WINAPI VirtualQuery(LPCVOID lpAddress, PMEMORY_BASIC_INFORMATION lpBuffer, SIZE_T dwLength);
#define ERROR_BAD_LENGTH 24u

typedef struct _SYSTEM_INFO {
    __extension__ union {
        DWORD dwOemId;
        __extension__ struct {
            WORD wProcessorArchitecture;
            WORD wReserved;
        };
    };
    DWORD dwPageSize;
    LPVOID lpMinimumApplicationAddress;
    LPVOID lpMaximumApplicationAddress;
    DWORD_PTR dwActiveProcessorMask;
    DWORD dwNumberOfProcessors;
    DWORD dwProcessorType;
    DWORD dwAllocationGranularity;
    WORD wProcessorLevel;
    WORD wProcessorRevision;
} SYSTEM_INFO, *LPSYSTEM_INFO;
#define PROCESSOR_ARCHITECTURE_AMD64 9
#define PROCESSOR_ARCHITECTURE_ARM64 12
#define PROCESSOR_ARCHITECTURE_UNKNOWN 0xffff

/* Tells the sizes of this system. */
CAIRN_WIN32_API void WINAPI GetSystemInfo(LPSYSTEM_INFO lpSystemInfo);

/* ---------------------------------------------------------------- sections */

#define SEC_RESERVE 0x04000000u
#define SEC_COMMIT 0x08000000u
#define SEC_IMAGE 0x01000000u
#define SEC_NOCACHE 0x10000000u
#define SEC_WRITECOMBINE 0x40000000u
#define SEC_LARGE_PAGES 0x80000000u

#define SECTION_MAP_WRITE 0x0002u
#define SECTION_MAP_READ 0x0004u
#define FILE_MAP_COPY 0x0001u
#define FILE_MAP_WRITE 0x0002u
#define FILE_MAP_READ 0x0004u
#define FILE_MAP_ALL_ACCESS 0x000f001fu
#define FILE_MAP_EXECUTE 0x0020u

/*
 * Creates a section, or, where one of that name exists, gives a handle to that, with its size, and
 * ERROR_ALREADY_EXISTS; else the last error is NO_ERROR. hFile INVALID_HANDLE_VALUE: memory, of the size that is given;
 * SEC_COMMIT (the default): all of it is there when the call succeeds; SEC_RESERVE: VirtualAlloc commits it. Else a
 * file of CairnFileHandle; size 0 is the file's. The name (with Local\ or Global\ in front or not) is seen by the
 * processes of this user, and has MAX_PATH UTF-16 units at most; it ends with the last handle and view, or with the
 * last process that had it. An empty name is none. What is made PAGE_READONLY nobody maps for writing, by whatever
 * handle.
 * Errors: ERROR_INVALID_PARAMETER (size 0 of memory, the protection, SEC_RESERVE with SEC_COMMIT), ERROR_INVALID_HANDLE
 * (the name is that of a heap), ERROR_INVALID_NAME (nothing behind Local\ or Global\), ERROR_PATH_NOT_FOUND (another
 * backslash in it), ERROR_FILENAME_EXCED_RANGE, ERROR_COMMITMENT_LIMIT, ERROR_FILE_INVALID (an empty file),
 * ERROR_DISK_FULL (the file cannot be made longer), ERROR_ACCESS_DENIED, ERROR_NOT_SUPPORTED (SEC_IMAGE, SEC_NOCACHE,
 * SEC_WRITECOMBINE, SEC_LARGE_PAGES, a name for a file, a security descriptor).
 */
CAIRN_WIN32_API HANDLE WINAPI CreateFileMappingA(HANDLE hFile, LPSECURITY_ATTRIBUTES lpFileMappingAttributes,
                                                 DWORD flProtect, DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow,
                                                 LPCSTR lpName);
CAIRN_WIN32_API HANDLE WINAPI CreateFileMappingW(HANDLE hFile, LPSECURITY_ATTRIBUTES lpFileMappingAttributes,
                                                 DWORD flProtect, DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow,
                                                 LPCWSTR lpName);

/* Gives a handle to an existing section. Errors: ERROR_FILE_NOT_FOUND, ERROR_ACCESS_DENIED, those of a name. */
CAIRN_WIN32_API HANDLE WINAPI OpenFileMappingA(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName);
CAIRN_WIN32_API HANDLE WINAPI OpenFileMappingW(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName);

/*
 * Maps a part of a section; the offset is a multiple of 64 KiB, 0 bytes go to the end. The address is a multiple of 64
 * KiB; lpBaseAddress, when it is not NULL, is the address or the call fails. FILE_MAP_COPY of memory: what is committed
 * is copied when the view is made. Errors: ERROR_MAPPED_ALIGNMENT (the offset, or lpBaseAddress), ERROR_INVALID_ADDRESS
 * (taken), ERROR_ACCESS_DENIED (more than the handle or the section may; more bytes than there are behind the offset),
 * ERROR_INVALID_PARAMETER (an offset beyond the end), ERROR_NOT_ENOUGH_MEMORY.
 */
CAIRN_WIN32_API LPVOID WINAPI MapViewOfFile(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                                            DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap);
CAIRN_WIN32_API LPVOID WINAPI MapViewOfFileEx(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                                              DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap, LPVOID lpBaseAddress);

/* Ends a view, by its first address. Errors: ERROR_INVALID_ADDRESS. */
CAIRN_WIN32_API BOOL WINAPI UnmapViewOfFile(LPCVOID lpBaseAddress);

/* Writes what was changed in a view of a file to it; 0 bytes: to the end of the view. Errors: ERROR_INVALID_ADDRESS. */
CAIRN_WIN32_API BOOL WINAPI FlushViewOfFile(LPCVOID lpBaseAddress, SIZE_T dwNumberOfBytesToFlush);

/* Ends a handle of a section or a file; the section stays while it has views. */
CAIRN_WIN32_API BOOL WINAPI CloseHandle(HANDLE hObject);

#define DUPLICATE_CLOSE_SOURCE 0x1u
#define DUPLICATE_SAME_ACCESS 0x2u

/* Returns the handle that means this process. */
CAIRN_WIN32_API HANDLE WINAPI GetCurrentProcess(void);

/*
 * Makes another handle of the same object, in this process. Errors: ERROR_INVALID_HANDLE (also for another process),
 * ERROR_INVALID_PARAMETER, ERROR_ACCESS_DENIED (more access than the source).
 */
CAIRN_WIN32_API BOOL WINAPI DuplicateHandle(HANDLE hSourceProcessHandle, HANDLE hSourceHandle,
                                            HANDLE hTargetProcessHandle, LPHANDLE lpTargetHandle, DWORD dwDesiredAccess,
                                            BOOL bInheritHandle, DWORD dwOptions);

/* Gives a handle to an open file, for CreateFileMapping; the descriptor stays the caller's. Errors:
 * ERROR_INVALID_HANDLE. */
CAIRN_WIN32_API HANDLE WINAPI CairnFileHandle(int Descriptor);

/*
 * TRUE: in views of memory that are mapped from now on, touching a page that is not committed raises
 * EXCEPTION_ACCESS_VIOLATION (SIGSEGV), in every process that has set it; a page that is committed elsewhere becomes
 * usable at its first touch, by a signal handler. FALSE, the default: such a touch is not seen, and may take memory.
 * Returns what was set before.
 */
CAIRN_WIN32_API BOOL WINAPI CairnFaultOnHoles(BOOL Enable);

#ifdef UNICODE
#define CreateFileMapping CreateFileMappingW
#define OpenFileMapping OpenFileMappingW
#else
#define CreateFileMapping CreateFileMappingA
#define OpenFileMapping OpenFileMappingA
#endif

/* ---------------------------------------------------------------- structured exceptions */

#define STATUS_ACCESS_VIOLATION 0xC0000005u
#define STATUS_IN_PAGE_ERROR 0xC0000006u
#define STATUS_NO_MEMORY 0xC0000017u
#define STATUS_STACK_OVERFLOW 0xC00000FDu
#define EXCEPTION_ACCESS_VIOLATION STATUS_ACCESS_VIOLATION
#define EXCEPTION_IN_PAGE_ERROR STATUS_IN_PAGE_ERROR
#define EXCEPTION_STACK_OVERFLOW STATUS_STACK_OVERFLOW
#define EXCEPTION_NONCONTINUABLE 0x1u
#define EXCEPTION_MAXIMUM_PARAMETERS 15
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

typedef struct _EXCEPTION_RECORD {
    DWORD ExceptionCode;
    DWORD ExceptionFlags;
    struct _EXCEPTION_RECORD *ExceptionRecord;
    PVOID ExceptionAddress;
    DWORD NumberParameters;
    ULONG_PTR ExceptionInformation[EXCEPTION_MAXIMUM_PARAMETERS]; /* a fault: 0 read, 1 write, 8 execute; the address */
} EXCEPTION_RECORD, *PEXCEPTION_RECORD;

typedef struct _CONTEXT {
    DWORD ContextFlags; /* 0 */
    PVOID CairnContext; /* a fault: the ucontext_t of the signal; else NULL */
} CONTEXT, *PCONTEXT;

typedef struct _EXCEPTION_POINTERS {
    PEXCEPTION_RECORD ExceptionRecord;
    PCONTEXT ContextRecord;
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS, *LPEXCEPTION_POINTERS;

/*
 * Raises an exception in this thread. It returns when a filter says EXCEPTION_CONTINUE_EXECUTION; when no filter takes
 * the exception the program ends with one line and abort(3).
 */
CAIRN_WIN32_API void WINAPI RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                                           const ULONG_PTR *lpArguments);

/*
 * __try { } __except (filter) { }   and   __try { } __finally { }
 *
 * In C; in C++ only after #define CAIRN_WIN32_SEH, as libstdc++ has a __try of its own (windows.h then includes that
 * library, so that no header of it comes later and finds this one). x86-64 and aarch64. What is guarded:
 * RaiseException, and the faults of memory (SIGSEGV, SIGBUS) in this thread. The filter runs before anything is
 * unwound, on the stack below the fault, and sees the variables of its function; EXCEPTION_CONTINUE_EXECUTION goes on
 * where the fault was. A thread whose stack overflows in a guarded block has EXCEPTION_STACK_OVERFLOW; its filter has
 * 128 KiB.
 *
 * The guarded block may be left in every way but longjmp; its termination block runs then. Different from a compiler
 * that knows these words: as with setjmp, a local variable that the guarded block changes and the filter, handler or
 * termination block read must be volatile; break and continue in a termination block end that block; a filter is not
 * asked about an exception of its own. A thread's alternate signal stack becomes the library's at its first __try. A
 * fault that no filter takes goes on to the handler that the program had installed before the first __try.
 */
#if defined(__x86_64__)
#define CAIRN_SEH_REGISTERS 8 /* rbx, rbp, r12 to r15, rsp, and where to go on */
#elif defined(__aarch64__)
#define CAIRN_SEH_REGISTERS 21 /* x19 to x30, sp, d8 to d15 */
#else
#define CAIRN_SEH_REGISTERS 1
#endif

struct cairn_seh_place {
    uintptr_t registers[CAIRN_SEH_REGISTERS];
};

/* A guard, in the function that guards; a thread's guards are a chain, the innermost first. */
struct cairn_seh_frame {
    struct cairn_seh_place back;  /* behind the block, when it was left early; of a dispatcher: who awaits an answer */
    struct cairn_seh_place place; /* before the block: where a handler or termination block begins */
    struct cairn_seh_place asked; /* in the block's scope: where the filter begins */
    struct cairn_seh_frame *outer;
    struct cairn_seh_frame *asks; /* of a guard: its dispatcher; of a dispatcher: the guard that it asks */
    EXCEPTION_POINTERS *pointers; /* while it is asked */
    void *base;                   /* the frame of the function */
    size_t one;                   /* is 1, which no compiler knows */
    int answer;                   /* to a dispatcher */
    int phase;
};

#define CAIRN_SEH_BODY 1      /* runs, and is on the chain */
#define CAIRN_SEH_FILTER 2    /* is asked, and on the chain */
#define CAIRN_SEH_ASKING 3    /* is no guard, but a dispatcher */
#define CAIRN_SEH_LEFT 4      /* came to its end, or to __leave */
#define CAIRN_SEH_ABANDONED 5 /* was left by return, break, continue or goto */
#define CAIRN_SEH_HANDLE 6    /* has taken an exception */
#define CAIRN_SEH_UNWIND 7    /* another guard, target, has */

/* What a termination block has of its guard. */
struct cairn_seh_final {
    struct cairn_seh_place back;
    struct cairn_seh_frame *target;
    DWORD code; /* for the target's handler */
    int phase;
    BOOL has_run;
};

/* What the macros call; no program does by itself. */
CAIRN_WIN32_API struct cairn_seh_place *cairn_seh_enter(struct cairn_seh_frame *frame, void *base);
CAIRN_WIN32_API struct cairn_seh_frame *cairn_seh_entered(void);
CAIRN_WIN32_API int cairn_seh_mark(struct cairn_seh_place *place) __attribute__((returns_twice));
CAIRN_WIN32_API void cairn_seh_decide(struct cairn_seh_frame *frame, int answer) __attribute__((noreturn));
CAIRN_WIN32_API void cairn_seh_finish(struct cairn_seh_frame *frame);
CAIRN_WIN32_API void cairn_seh_end(struct cairn_seh_frame **frame);
CAIRN_WIN32_API unsigned cairn_seh_handle(void *base, unsigned site);
CAIRN_WIN32_API struct cairn_seh_final cairn_seh_final(void *base);
CAIRN_WIN32_API BOOL cairn_seh_again(struct cairn_seh_final *final);
CAIRN_WIN32_API DWORD cairn_seh_code(uintptr_t at, void *base);

#if (!defined(__cplusplus) || defined(CAIRN_WIN32_SEH)) && CAIRN_SEH_REGISTERS > 1
/*
 * Handlers must be in no loop of ours, for break and continue in them are the program's; nor must guarded blocks. So a
 * statement is
 *
 *     if (mark ? false : ({ guard; mark; if it is not asked BODY else decide(FILTER); leave: true; })) {}
 *     else HANDLER
 *
 * The first mark is outside of what has to be cleaned up when the block is left: a termination block runs in the midst
 * of that, and what a compiler keeps for it must not be touched. Behind the second there is nothing but the filter, so
 * that no value of the block is touched by it. The array makes the compiler address all that is local by the frame
 * pointer, as a filter has another stack pointer than the block. A handler is outside of the guard's scope, and C has
 * no variable in an if: what it is told waits with the library, under the function's frame and a number.
 */
#ifdef __cplusplus
#define CAIRN_SEH_ENTER cairn_seh_enter_new(cairn_seh_frame(), __builtin_frame_address(0))
#define CAIRN_SEH_HANDLE_UNLESS(n)                                                                                     \
    if (cairn_seh_site cairn_seh_at = {cairn_seh_handle(__builtin_frame_address(0), n + 1)})
static inline cairn_seh_place *cairn_seh_enter_new(cairn_seh_frame &&frame, void *base)
{
    return cairn_seh_enter(&frame, base);
}
struct cairn_seh_site {
    unsigned site;
    explicit operator bool() const
    {
        return false;
    }
    explicit operator uintptr_t() const
    {
        return site;
    }
};
#else
#define CAIRN_SEH_ENTER cairn_seh_enter(&(struct cairn_seh_frame){.phase = 0}, __builtin_frame_address(0))
#define CAIRN_SEH_HANDLE_UNLESS(n)                                                                                     \
    if (cairn_seh_handle(__builtin_frame_address(0), n + 1) + sizeof(enum {cairn_seh_at = n + 1}) == 0)
#endif

#define CAIRN_SEH_EXCEPT(n, filter)                                                                                    \
    else                                                                                                               \
    {                                                                                                                  \
        struct cairn_seh_frame *const cairn_seh_at = cairn_seh_;                                                       \
        cairn_seh_decide(cairn_seh_at, filter);                                                                        \
    }                                                                                                                  \
    cairn_seh_leave_:                                                                                                  \
    __attribute__((unused));                                                                                           \
    cairn_seh_->phase = CAIRN_SEH_LEFT;                                                                                \
    1;                                                                                                                 \
    }))                                                                                                                \
    {                                                                                                                  \
    }                                                                                                                  \
    else CAIRN_SEH_HANDLE_UNLESS(n)                                                                                    \
    {                                                                                                                  \
    }                                                                                                                  \
    else

#define CAIRN_SEH_FINALLY                                                                                              \
    else                                                                                                               \
    {                                                                                                                  \
        cairn_seh_decide(cairn_seh_, EXCEPTION_CONTINUE_SEARCH);                                                       \
    }                                                                                                                  \
    cairn_seh_leave_:                                                                                                  \
    __attribute__((unused));                                                                                           \
    cairn_seh_finish(cairn_seh_);                                                                                      \
    0;                                                                                                                 \
    }))                                                                                                                \
    {                                                                                                                  \
    }                                                                                                                  \
    else for (struct cairn_seh_final cairn_seh_final_ = cairn_seh_final(__builtin_frame_address(0));                   \
              cairn_seh_again(&cairn_seh_final_);)
/* clang warns of an array like that, also where a macro of a system's header brings it. */
#ifdef __clang__
#define CAIRN_SEH_ROOM                                                                                                 \
    _Pragma("clang diagnostic push") _Pragma(                                                                          \
        "clang diagnostic ignored \"-Wvla\"") char cairn_seh_room_[cairn_seh_->one] _Pragma("clang diagnostic pop")
#else
#define CAIRN_SEH_ROOM char cairn_seh_room_[cairn_seh_->one]
#endif

/* The formatter takes __except for a keyword, and would make an object-like macro of it. */
/* clang-format off */
#undef __try
#undef __except
#undef __finally
#undef __leave
#define __try                                                                                                          \
    if (cairn_seh_mark(CAIRN_SEH_ENTER) != 0 ? 0 : __extension__({                                                     \
        __label__ cairn_seh_leave_;                                                                                    \
        __attribute__((cleanup(cairn_seh_end))) struct cairn_seh_frame *cairn_seh_ = cairn_seh_entered();              \
        CAIRN_SEH_ROOM;                                                                                                \
        __asm__ volatile("" : : "r"(cairn_seh_room_) : "memory"); /* or the compiler takes it away */                  \
        if (cairn_seh_mark(&cairn_seh_->asked) == 0)
#define CAIRN_SEH_EXCEPT_(n, filter) CAIRN_SEH_EXCEPT(n, filter)
#define __except(...) CAIRN_SEH_EXCEPT_(__COUNTER__, (__VA_ARGS__))
#define __finally CAIRN_SEH_FINALLY
#define __leave goto cairn_seh_leave_
/* clang-format on */
/* In a filter and a handler: what was raised; in a filter: all about it. In a termination block: whether the guarded
 * block came not to its end. */
#define GetExceptionCode() cairn_seh_code((uintptr_t)(cairn_seh_at), __builtin_frame_address(0))
#define GetExceptionInformation() (cairn_seh_at->pointers)
#define AbnormalTermination() (cairn_seh_final_.phase != CAIRN_SEH_LEFT)
#define _exception_code GetExceptionCode
#define _exception_info GetExceptionInformation
#define _abnormal_termination AbnormalTermination
#endif

#ifdef __cplusplus
}
#endif

#endif
