/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Start and end traces through the device of the module ftracehooking.
 *
 * The device is there on every kernel, also where the number of the system call
 * belongs to the kernel, and it takes options, which the system call does not.
 */
#ifndef _OS_FTRACE_H
#define _OS_FTRACE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The device, while ftracehooking is loaded. */
#define OS_FTRACE_DEVICE	"/dev/os_ftrace"

#define OS_FTRACE_WIDE		1	/* print a line for each system call that was counted */
#define OS_FTRACE_DETAIL	2	/* print a line for each file */
#define OS_FTRACE_FOLLOW	4	/* trace the children too, each as a run of its own */

/**
 * struct os_ftrace_request - which process, and how
 * @pid: the process, in the caller's pid namespace; 0 is the caller's own
 * @flags: any of OS_FTRACE_WIDE, OS_FTRACE_DETAIL and OS_FTRACE_FOLLOW
 *
 * The same 8 bytes for 32-bit callers.
 */
struct os_ftrace_request {
	__s32 pid;
	__u32 flags;
};

/**
 * define OS_FTRACE_START - start a trace
 *
 * Description: The flags are added to what the module's parameters ask for. Followed
 * children have the same.
 *
 * Return: 0, or -1 and errno: ESRCH (no such process), EPERM (not the caller's
 * process), EBUSY (traced already), ENODEV (iotracehooking is not loaded), EAGAIN (as many
 * traces as the parameter traces allows), EOPNOTSUPP (flags, on PREEMPT_RT), ENOMEM,
 * EINVAL (unknown flags), EFAULT, ENOTTY (another request).
 */
#define OS_FTRACE_START		_IOW('L', 1, struct os_ftrace_request)

/**
 * define OS_FTRACE_STOP - end a trace
 *
 * Description: Of the flags only OS_FTRACE_FOLLOW is taken: it ends the traces of all
 * processes that were followed from this one too.
 *
 * Return: 0, or -1 and errno as for OS_FTRACE_START; ESRCH also where the process is
 * not traced.
 */
#define OS_FTRACE_STOP		_IOW('L', 2, struct os_ftrace_request)

#endif /* _OS_FTRACE_H */
