/* SPDX-License-Identifier: GPL-2.0 */
/* The calls that are traced: their names for both modules. */
#ifndef CALLS_H
#define CALLS_H

#include <linux/compiler.h>
#include <linux/thread_info.h>
#include <linux/types.h>
#include <asm/unistd.h>

/* The lab's five stand first: they index shorter arrays. */
enum traced_call {
	CALL_NONE,
	CALL_OPENAT,
	CALL_CLOSE,
	CALL_READ,
	CALL_WRITE,
	CALL_LSEEK,
	LAB_CALLS,
	CALL_OPEN = LAB_CALLS,
	CALL_CREAT,
	CALL_OPENAT2,
	CALL_CLOSE_RANGE,
	CALL_DUP,
	CALL_DUP2,
	CALL_DUP3,
	CALL_PREAD64,
	CALL_READV,
	CALL_PREADV,
	CALL_PREADV2,
	CALL_PWRITE64,
	CALL_WRITEV,
	CALL_PWRITEV,
	CALL_PWRITEV2,
	CALL_SENDFILE,
	CALL_SPLICE,
	CALL_TEE,
	CALL_VMSPLICE,
	CALL_COPY_FILE_RANGE,
	CALL_MMAP,
	CALL_FSYNC,
	CALL_FDATASYNC,
	CALL_SYNC_FILE_RANGE,
	CALL_TRUNCATE,
	CALL_FTRUNCATE,
	CALL_FALLOCATE,
	CALL_GETDENTS,
	CALL_GETDENTS64,
	CALL_IO_URING_ENTER,
	CALL_EXECVE,
	CALL_EXECVEAT,
	CALLS,
};

/* What a call does to the files that its descriptors are. */
enum call_role {
	ROLE_NONE,
	ROLE_OPEN,		/* the result is a new descriptor */
	ROLE_DUPLICATE,		/* the result is a new descriptor of the first one's file */
	ROLE_CLOSE,
	ROLE_CLOSE_RANGE,
	ROLE_TRANSFER,		/* reads from one, writes to another, or either of them */
	ROLE_SEEK,
	ROLE_MAP,
	ROLE_EXECUTE,
};

/**
 * struct call_shape - how to understand a call's arguments and result
 * @role: what it does
 * @descriptors: the arguments, counted from 1, that are descriptors, 0 for none; of a transfer
 *	the first is read from and the second written to; of a duplicate the second is closed
 */
struct call_shape {
	enum call_role role;
	unsigned char descriptors[2];
};

extern const struct call_shape call_shapes[CALLS];

/* Above all numbers that are traced. */
#define CALL_NUMBERS 1024

extern const u8 native_calls[CALL_NUMBERS];
extern const u8 ia32_calls[CALL_NUMBERS];

/**
 * traced_call() - say as what a system call of the current task counts
 * @nr: the number the task called
 *
 * Return: the call, or CALL_NONE
 */
static inline enum traced_call traced_call(unsigned int nr)
{
	bool ia32 = in_ia32_syscall();

	if (!ia32)
		nr &= ~__X32_SYSCALL_BIT;
	if (nr >= CALL_NUMBERS)
		return CALL_NONE;
	/* Holds also for what the processor guesses; the compiler would leave it out. */
	OPTIMIZER_HIDE_VAR(nr);
	nr &= CALL_NUMBERS - 1;
	return ia32 ? ia32_calls[nr] : native_calls[nr];
}

/**
 * native_call() - the same, quickly, for tasks that don't use the numbers of the i386
 * @nr: the number the current task called
 *
 * Return: the call, or CALL_NONE; CALLS where it can't say
 */
static __always_inline enum traced_call native_call(unsigned int nr)
{
	if (unlikely(nr & ~(__X32_SYSCALL_BIT | (CALL_NUMBERS - 1))))
		return CALLS;
	if (unlikely(in_ia32_syscall()))
		return CALLS;
	return native_calls[nr & (CALL_NUMBERS - 1)];
}

#endif /* CALLS_H */
