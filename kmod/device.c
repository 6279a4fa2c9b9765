// SPDX-License-Identifier: GPL-2.0
/*
 * The device /dev/os_ftrace: the second way in.
 *
 * It is there where the number of the system call isn't to be had, it takes options, and a filter
 * of system calls as containers have it lets it pass. Everybody may open it: who may trace what is
 * decided by the session, as for the system call.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "device.h"
#include "os_ftrace.h"
#include "session.h"

#define OPTIONS (OS_FTRACE_WIDE | OS_FTRACE_DETAIL | OS_FTRACE_FOLLOW)

/* For 32-bit callers too: the request is the same, and their pointers are 64-bit ones here. */
static long device_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	struct os_ftrace_request request;

	if (command != OS_FTRACE_START && command != OS_FTRACE_STOP)
		return -ENOTTY;
	if (copy_from_user(&request, (const void __user *)address, sizeof(request)))
		return -EFAULT;

	if (command == OS_FTRACE_START) {
		if (request.flags & ~OPTIONS)
			return -EINVAL;
		return session_start(request.pid, request.flags);
	}
	if (request.flags & ~OS_FTRACE_FOLLOW)
		return -EINVAL;
	return session_stop(request.pid, request.flags);
}

static const struct file_operations device_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = device_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "os_ftrace",
	.mode = 0666,
	.fops = &device_operations,
};

/**
 * os_ftrace_device_add() - let programs open the device
 *
 * Return: 0 or an error
 */
int os_ftrace_device_add(void)
{
	return misc_register(&device);
}

/**
 * os_ftrace_device_remove() - take the device away
 *
 * Called when the module goes, so nobody has it open.
 */
void os_ftrace_device_remove(void)
{
	misc_deregister(&device);
}
