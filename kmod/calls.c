// SPDX-License-Identifier: GPL-2.0
/*
 * Which system calls are traced, and as what, for 64-bit, x32 and 32-bit callers.
 *
 * Tables instead of switches: every call of a traced process is looked up.
 */
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/thread_info.h>
#include <asm/unistd.h>

#include "calls.h"
#include "compat.h"

/* Those of x32 callers too: their numbers, without the mark, lie behind. */
static const u8 native_calls[] = {
	[__NR_openat] = CALL_OPENAT,
	[__NR_close] = CALL_CLOSE,
	[__NR_read] = CALL_READ,
	[__NR_write] = CALL_WRITE,
	[__NR_lseek] = CALL_LSEEK,
	[__NR_open] = CALL_OPEN,
	[__NR_creat] = CALL_CREAT,
	[__NR_openat2] = CALL_OPENAT2,
	[__NR_close_range] = CALL_CLOSE_RANGE,
	[__NR_dup] = CALL_DUP,
	[__NR_dup2] = CALL_DUP2,
	[__NR_dup3] = CALL_DUP3,
	[__NR_pread64] = CALL_PREAD64,
	[__NR_readv] = CALL_READV,
	[__NR_x32_readv] = CALL_READV,
	[__NR_preadv] = CALL_PREADV,
	[__NR_x32_preadv] = CALL_PREADV,
	[__NR_preadv2] = CALL_PREADV2,
	[__NR_x32_preadv2] = CALL_PREADV2,
	[__NR_pwrite64] = CALL_PWRITE64,
	[__NR_writev] = CALL_WRITEV,
	[__NR_x32_writev] = CALL_WRITEV,
	[__NR_pwritev] = CALL_PWRITEV,
	[__NR_x32_pwritev] = CALL_PWRITEV,
	[__NR_pwritev2] = CALL_PWRITEV2,
	[__NR_x32_pwritev2] = CALL_PWRITEV2,
	[__NR_sendfile] = CALL_SENDFILE,
	[__NR_splice] = CALL_SPLICE,
	[__NR_tee] = CALL_TEE,
	[__NR_vmsplice] = CALL_VMSPLICE,
	[__NR_x32_vmsplice] = CALL_VMSPLICE,
	[__NR_copy_file_range] = CALL_COPY_FILE_RANGE,
	[__NR_mmap] = CALL_MMAP,
	[__NR_fsync] = CALL_FSYNC,
	[__NR_fdatasync] = CALL_FDATASYNC,
	[__NR_sync_file_range] = CALL_SYNC_FILE_RANGE,
	[__NR_truncate] = CALL_TRUNCATE,
	[__NR_ftruncate] = CALL_FTRUNCATE,
	[__NR_fallocate] = CALL_FALLOCATE,
	[__NR_getdents] = CALL_GETDENTS,
	[__NR_getdents64] = CALL_GETDENTS64,
	[__NR_io_uring_enter] = CALL_IO_URING_ENTER,
	[__NR_execve] = CALL_EXECVE,
	[__NR_x32_execve] = CALL_EXECVE,
	[__NR_execveat] = CALL_EXECVEAT,
	[__NR_x32_execveat] = CALL_EXECVEAT,
};

static const u8 ia32_calls[] = {
	[__NR_ia32_openat] = CALL_OPENAT,
	[__NR_ia32_close] = CALL_CLOSE,
	[__NR_ia32_read] = CALL_READ,
	[__NR_ia32_write] = CALL_WRITE,
	[__NR_ia32_lseek] = CALL_LSEEK,
	[__NR_ia32__llseek] = CALL_LSEEK,
	[__NR_ia32_open] = CALL_OPEN,
	[__NR_ia32_creat] = CALL_CREAT,
	[__NR_openat2] = CALL_OPENAT2,
	[__NR_close_range] = CALL_CLOSE_RANGE,
	[__NR_ia32_dup] = CALL_DUP,
	[__NR_ia32_dup2] = CALL_DUP2,
	[__NR_ia32_dup3] = CALL_DUP3,
	[__NR_ia32_pread64] = CALL_PREAD64,
	[__NR_ia32_readv] = CALL_READV,
	[__NR_ia32_preadv] = CALL_PREADV,
	[__NR_ia32_preadv2] = CALL_PREADV2,
	[__NR_ia32_pwrite64] = CALL_PWRITE64,
	[__NR_ia32_writev] = CALL_WRITEV,
	[__NR_ia32_pwritev] = CALL_PWRITEV,
	[__NR_ia32_pwritev2] = CALL_PWRITEV2,
	[__NR_ia32_sendfile] = CALL_SENDFILE,
	[__NR_ia32_sendfile64] = CALL_SENDFILE,
	[__NR_ia32_splice] = CALL_SPLICE,
	[__NR_ia32_tee] = CALL_TEE,
	[__NR_ia32_vmsplice] = CALL_VMSPLICE,
	[__NR_ia32_copy_file_range] = CALL_COPY_FILE_RANGE,
	[__NR_ia32_mmap2] = CALL_MMAP,
	[__NR_ia32_fsync] = CALL_FSYNC,
	[__NR_ia32_fdatasync] = CALL_FDATASYNC,
	[__NR_ia32_sync_file_range] = CALL_SYNC_FILE_RANGE,
	[__NR_ia32_truncate] = CALL_TRUNCATE,
	[__NR_ia32_truncate64] = CALL_TRUNCATE,
	[__NR_ia32_ftruncate] = CALL_FTRUNCATE,
	[__NR_ia32_ftruncate64] = CALL_FTRUNCATE,
	[__NR_ia32_fallocate] = CALL_FALLOCATE,
	[__NR_ia32_getdents] = CALL_GETDENTS,
	[__NR_ia32_getdents64] = CALL_GETDENTS64,
	[__NR_ia32_io_uring_enter] = CALL_IO_URING_ENTER,
	[__NR_ia32_execve] = CALL_EXECVE,
	[__NR_ia32_execveat] = CALL_EXECVEAT,
};

#define READS(argument) { ROLE_TRANSFER, { argument, 0 } }
#define WRITES(argument) { ROLE_TRANSFER, { 0, argument } }

const struct call_shape call_shapes[CALLS] = {
	[CALL_OPENAT] = { ROLE_OPEN },
	[CALL_OPEN] = { ROLE_OPEN },
	[CALL_CREAT] = { ROLE_OPEN },
	[CALL_OPENAT2] = { ROLE_OPEN },
	[CALL_CLOSE] = { ROLE_CLOSE, { 1 } },
	[CALL_CLOSE_RANGE] = { ROLE_CLOSE_RANGE },
	[CALL_DUP] = { ROLE_DUPLICATE, { 1 } },
	[CALL_DUP2] = { ROLE_DUPLICATE, { 1, 2 } },
	[CALL_DUP3] = { ROLE_DUPLICATE, { 1, 2 } },
	[CALL_READ] = READS(1),
	[CALL_PREAD64] = READS(1),
	[CALL_READV] = READS(1),
	[CALL_PREADV] = READS(1),
	[CALL_PREADV2] = READS(1),
	[CALL_WRITE] = WRITES(1),
	[CALL_PWRITE64] = WRITES(1),
	[CALL_WRITEV] = WRITES(1),
	[CALL_PWRITEV] = WRITES(1),
	[CALL_PWRITEV2] = WRITES(1),
	[CALL_SENDFILE] = { ROLE_TRANSFER, { 2, 1 } },
	[CALL_SPLICE] = { ROLE_TRANSFER, { 1, 3 } },
	[CALL_TEE] = { ROLE_TRANSFER, { 1, 2 } },
	[CALL_VMSPLICE] = { ROLE_TRANSFER },
	[CALL_COPY_FILE_RANGE] = { ROLE_TRANSFER, { 1, 3 } },
	[CALL_LSEEK] = { ROLE_SEEK, { 1 } },
	[CALL_MMAP] = { ROLE_MAP },
	[CALL_EXECVE] = { ROLE_EXECUTE },
	[CALL_EXECVEAT] = { ROLE_EXECUTE },
};

/**
 * traced_call() - say as what a system call of the current task counts
 * @nr: the number the task called
 *
 * Return: the call, or CALL_NONE
 */
enum traced_call traced_call(int nr)
{
	unsigned int number = nr;

	if (in_ia32_syscall()) {
		if (number >= ARRAY_SIZE(ia32_calls))
			return CALL_NONE;
		return ia32_calls[array_index_nospec(number, ARRAY_SIZE(ia32_calls))];
	}

	number &= ~__X32_SYSCALL_BIT;
	if (number >= ARRAY_SIZE(native_calls))
		return CALL_NONE;
	return native_calls[array_index_nospec(number, ARRAY_SIZE(native_calls))];
}
