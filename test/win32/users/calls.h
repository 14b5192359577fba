/* SPDX-License-Identifier: MIT */
/* calls: counts the calls of windows.h that the other files of a program make; the linker leads them here (--wrap). */
#ifndef CAIRN_TEST_WIN32_USERS_CALLS_H
#define CAIRN_TEST_WIN32_USERS_CALLS_H

#ifdef __cplusplus
extern "C" {
#endif

#define FOR_EACH_CALL(DO)                                                                                              \
    DO(HeapCreate)                                                                                                     \
    DO(HeapDestroy)                                                                                                    \
    DO(HeapAlloc)                                                                                                      \
    DO(HeapReAlloc)                                                                                                    \
    DO(HeapFree)                                                                                                       \
    DO(HeapSize)                                                                                                       \
    DO(HeapValidate)                                                                                                   \
    DO(HeapCompact)                                                                                                    \
    DO(GetProcessHeap)                                                                                                 \
    DO(VirtualAlloc)                                                                                                   \
    DO(VirtualFree)                                                                                                    \
    DO(CreateFileMappingA)                                                                                             \
    DO(MapViewOfFile)                                                                                                  \
    DO(UnmapViewOfFile)

struct calls {
#define CALL(name) unsigned long name;
    FOR_EACH_CALL(CALL)
#undef CALL
    unsigned long failed; /* of them: gave NULL, FALSE or (SIZE_T)-1; HeapReAlloc in place and HeapCompact may */
    unsigned long not_in_place;
};
extern struct calls calls;

void calls_reset(void);
void calls_print(const char *who); /* those that were made */

#ifdef __cplusplus
}
#endif

#endif
