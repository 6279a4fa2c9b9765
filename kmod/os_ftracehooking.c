// SPDX-License-Identifier: GPL-2.0
/* os_ftracehooking: while it is loaded, calls of os_ftrace are answered by my_ftrace(). */
#include <linux/module.h>
#include <linux/printk.h>

#include "redirect.h"

static long my_ftrace(pid_t pid)
{
	pr_info("os_ftrace() hooked! os_ftrace -> %s\n", __func__);
	return 0;
}

static int __init os_ftracehooking_init(void)
{
	int err = redirect_install(my_ftrace);

	if (err == -EBUSY)
		pr_err(KBUILD_MODNAME ": system call %u is the kernel's uprobe(); load with nr=NUMBER of an unused one\n",
		       nr);
	return err;
}

static void __exit os_ftracehooking_exit(void)
{
	redirect_remove();
}

module_init(os_ftracehooking_init);
module_exit(os_ftracehooking_exit);

MODULE_AUTHOR("The logtrace developers");
MODULE_DESCRIPTION("Answer the system call os_ftrace in place of the kernel");
MODULE_VERSION(LOGTRACE_VERSION);
MODULE_LICENSE("GPL");
