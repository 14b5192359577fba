/* SPDX-License-Identifier: MIT */
#include "win32/jump.h"

/* cairn_seh_end marks the place behind itself, too, for a guard that is left before its end; seh_left (exception.c)
 * then returns there. */
_Static_assert(offsetof(struct cairn_seh_frame, back) == 0, "the assembly marks it there");
_Static_assert(JUMP_MARGIN == 1024, "so the assembly");

#if defined(__x86_64__)
#define MARK                                                                                                           \
    "movq %rbx, (%rdi)\n movq %rbp, 8(%rdi)\n movq %r12, 16(%rdi)\n movq %r13, 24(%rdi)\n"                             \
    "movq %r14, 32(%rdi)\n movq %r15, 40(%rdi)\n"                                                                      \
    "leaq 8(%rsp), %rdx\n movq %rdx, 48(%rdi)\n movq (%rsp), %rdx\n movq %rdx, 56(%rdi)\n"

/* jump_below keeps what is below an alignment of 64, which a function may count on. */
__asm__(".text\n"
        ".globl cairn_seh_mark\n .type cairn_seh_mark, @function\n"
        "cairn_seh_mark:\n .cfi_startproc\n" MARK "xorl %eax, %eax\n ret\n .cfi_endproc\n"
        ".size cairn_seh_mark, . - cairn_seh_mark\n"

        ".globl cairn_seh_end\n .type cairn_seh_end, @function\n"
        "cairn_seh_end:\n .cfi_startproc\n movq (%rdi), %rdi\n" MARK "jmp seh_left\n .cfi_endproc\n"
        ".size cairn_seh_end, . - cairn_seh_end\n"

        ".globl jump_below\n .hidden jump_below\n .type jump_below, @function\n"
        "jump_below:\n movq 48(%rdi), %rcx\n andl $63, %ecx\n leaq -1088(%rsp), %rsi\n andq $-64, %rsi\n"
        "addq %rcx, %rsi\n jmp jump_to\n"
        ".globl jump_back_at\n .hidden jump_back_at\n .type jump_back_at, @function\n"
        "jump_back_at:\n movq 48(%rsi), %rsi\n jmp jump_to\n"
        ".globl jump_back\n .hidden jump_back\n .type jump_back, @function\n"
        "jump_back:\n movq 48(%rdi), %rsi\n"
        "jump_to:\n movq (%rdi), %rbx\n movq 8(%rdi), %rbp\n movq 16(%rdi), %r12\n movq 24(%rdi), %r13\n"
        "movq 32(%rdi), %r14\n movq 40(%rdi), %r15\n movq 56(%rdi), %rdx\n movq %rsi, %rsp\n"
        "movl $1, %eax\n jmp *%rdx\n"

        ".globl jump_onto\n .hidden jump_onto\n .type jump_onto, @function\n"
        "jump_onto:\n .cfi_startproc\n .cfi_undefined %rip\n andq $-64, %rdi\n movq %rdi, %rsp\n movq %rdx, %rdi\n"
        "xorl %ebp, %ebp\n call *%rsi\n ud2\n .cfi_endproc\n");

#elif defined(__aarch64__)
#define MARK                                                                                                           \
    "stp x19, x20, [x0]\n stp x21, x22, [x0, #16]\n stp x23, x24, [x0, #32]\n stp x25, x26, [x0, #48]\n"               \
    "stp x27, x28, [x0, #64]\n stp x29, x30, [x0, #80]\n mov x2, sp\n str x2, [x0, #96]\n"                             \
    "stp d8, d9, [x0, #104]\n stp d10, d11, [x0, #120]\n stp d12, d13, [x0, #136]\n stp d14, d15, [x0, #152]\n"

__asm__(".text\n"
        ".globl cairn_seh_mark\n .type cairn_seh_mark, %function\n"
        "cairn_seh_mark:\n .cfi_startproc\n" MARK "mov w0, #0\n ret\n .cfi_endproc\n"
        ".size cairn_seh_mark, . - cairn_seh_mark\n"

        ".globl cairn_seh_end\n .type cairn_seh_end, %function\n"
        "cairn_seh_end:\n .cfi_startproc\n ldr x0, [x0]\n" MARK "b seh_left\n .cfi_endproc\n"
        ".size cairn_seh_end, . - cairn_seh_end\n"

        ".globl jump_below\n .hidden jump_below\n .type jump_below, %function\n"
        "jump_below:\n ldr x3, [x0, #96]\n and x3, x3, #63\n mov x1, sp\n sub x1, x1, #1088\n and x1, x1, #-64\n"
        "add x1, x1, x3\n b jump_to\n"
        ".globl jump_back_at\n .hidden jump_back_at\n .type jump_back_at, %function\n"
        "jump_back_at:\n ldr x1, [x1, #96]\n b jump_to\n"
        ".globl jump_back\n .hidden jump_back\n .type jump_back, %function\n"
        "jump_back:\n ldr x1, [x0, #96]\n"
        "jump_to:\n ldp x19, x20, [x0]\n ldp x21, x22, [x0, #16]\n ldp x23, x24, [x0, #32]\n ldp x25, x26, [x0, #48]\n"
        "ldp x27, x28, [x0, #64]\n ldp x29, x30, [x0, #80]\n"
        "ldp d8, d9, [x0, #104]\n ldp d10, d11, [x0, #120]\n ldp d12, d13, [x0, #136]\n ldp d14, d15, [x0, #152]\n"
        "mov sp, x1\n mov w0, #1\n ret\n"

        ".globl jump_onto\n .hidden jump_onto\n .type jump_onto, %function\n"
        "jump_onto:\n .cfi_startproc\n .cfi_undefined x30\n and x0, x0, #-64\n mov sp, x0\n mov x0, x2\n"
        "mov x29, #0\n blr x1\n brk #1\n .cfi_endproc\n");

#else /* there are no macros there, so no guards */
CAIRN_WIN32_API int cairn_seh_mark(struct cairn_seh_place *place)
{
    (void)place;
    __builtin_trap();
}

CAIRN_WIN32_API void cairn_seh_end(struct cairn_seh_frame **frame)
{
    (void)frame;
}

void jump_back(struct cairn_seh_place *place)
{
    (void)place;
    __builtin_trap();
}

void jump_back_at(struct cairn_seh_place *place, const struct cairn_seh_place *other)
{
    (void)place, (void)other;
    __builtin_trap();
}

void jump_below(struct cairn_seh_place *place)
{
    (void)place;
    __builtin_trap();
}

void jump_onto(void *end, void (*function)(void *arg), void *arg)
{
    (void)end, (void)function, (void)arg;
    __builtin_trap();
}
#endif
