// SPDX-License-Identifier: GPL-2.0
/*
 * Which system calls are traced, and as what, for 64-bit, x32 and 32-bit callers.
 *
 * Those of the lab are openat, read, write, lseek and close. With wide=1 the calls that do the same
 * count with them: open, creat and openat2; pread64, readv, preadv and preadv2; pwrite64, writev,
 * pwritev and pwritev2. sendfile, splice, copy_file_range, io_uring and mapped files never count.
 */
#include <linux/module.h>
#include <linux/thread_info.h>
#include <asm/unistd.h>

#include "calls.h"

static bool wide;
module_param(wide, bool, 0444);
MODULE_PARM_DESC(wide, "count open, pread64, writev and their like too (default N)");

static enum traced_call lab_call(int nr)
{
	switch (nr) {
	case __NR_openat:
		return CALL_OPEN;
	case __NR_close:
		return CALL_CLOSE;
	case __NR_read:
		return CALL_READ;
	case __NR_write:
		return CALL_WRITE;
	case __NR_lseek:
		return CALL_LSEEK;
	default:
		return NOT_TRACED;
	}
}

static enum traced_call wide_call(int nr)
{
	switch (nr) {
	case __NR_open:
	case __NR_creat:
	case __NR_openat2:
		return CALL_OPEN;
	case __NR_pread64:
	case __NR_readv:
	case __NR_x32_readv:
	case __NR_preadv:
	case __NR_x32_preadv:
	case __NR_preadv2:
	case __NR_x32_preadv2:
		return CALL_READ;
	case __NR_pwrite64:
	case __NR_writev:
	case __NR_x32_writev:
	case __NR_pwritev:
	case __NR_x32_pwritev:
	case __NR_pwritev2:
	case __NR_x32_pwritev2:
		return CALL_WRITE;
	default:
		return NOT_TRACED;
	}
}

static enum traced_call lab_call_ia32(int nr)
{
	switch (nr) {
	case __NR_ia32_openat:
		return CALL_OPEN;
	case __NR_ia32_close:
		return CALL_CLOSE;
	case __NR_ia32_read:
		return CALL_READ;
	case __NR_ia32_write:
		return CALL_WRITE;
	case __NR_ia32_lseek:
	case __NR_ia32__llseek:
		return CALL_LSEEK;
	default:
		return NOT_TRACED;
	}
}

static enum traced_call wide_call_ia32(int nr)
{
	switch (nr) {
	case __NR_ia32_open:
	case __NR_ia32_creat:
	case __NR_ia32_openat2:
		return CALL_OPEN;
	case __NR_ia32_pread64:
	case __NR_ia32_readv:
	case __NR_ia32_preadv:
	case __NR_ia32_preadv2:
		return CALL_READ;
	case __NR_ia32_pwrite64:
	case __NR_ia32_writev:
	case __NR_ia32_pwritev:
	case __NR_ia32_pwritev2:
		return CALL_WRITE;
	default:
		return NOT_TRACED;
	}
}

/* x32 callers mark the number; but for some calls it is the 64-bit one below the mark. */
static int without_mark(int nr)
{
	return nr & ~(int)__X32_SYSCALL_BIT;
}

/**
 * traced_call() - say as what a system call of the current task counts
 * @nr: the number the task called
 *
 * Return: the kind, or NOT_TRACED
 */
enum traced_call traced_call(int nr)
{
	enum traced_call call;

	if (in_ia32_syscall()) {
		call = lab_call_ia32(nr);
		return call == NOT_TRACED && wide ? wide_call_ia32(nr) : call;
	}
	nr = without_mark(nr);
	call = lab_call(nr);
	return call == NOT_TRACED && wide ? wide_call(nr) : call;
}

/**
 * name_argument() - say which argument of a CALL_OPEN of the current task is the file name
 * @nr: the number the task called
 *
 * Return: its index
 */
unsigned int name_argument(int nr)
{
	if (in_ia32_syscall())
		return nr == __NR_ia32_open || nr == __NR_ia32_creat ? 0 : 1;
	nr = without_mark(nr);
	return nr == __NR_open || nr == __NR_creat ? 0 : 1;
}
