// SPDX-License-Identifier: GPL-2.0
/* The parameters that say what a trace is like that doesn't say so itself. */
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "options.h"
#include "os_ftrace.h"

#define FILES_MAX 4096

static bool wide;
module_param(wide, bool, 0644);
MODULE_PARM_DESC(wide, "print a line a call, of a wider family of calls (default N)");

static bool detail;
module_param(detail, bool, 0644);
MODULE_PARM_DESC(detail, "print a line a file (default N)");

static bool follow;
module_param(follow, bool, 0644);
MODULE_PARM_DESC(follow, "trace children too, each on its own (default N)");

static unsigned int files = 256;

static int set_files(const char *text, const struct kernel_param *param)
{
	unsigned int number;
	int err = kstrtouint(text, 0, &number);

	if (!err && (number < 1 || number > FILES_MAX))
		err = -ERANGE;
	if (err)
		pr_err(KBUILD_MODNAME ": files= takes a number from 1 to %d\n", FILES_MAX);
	else
		WRITE_ONCE(files, number);
	return err;
}

static const struct kernel_param_ops files_ops = {
	.set = set_files,
	.get = param_get_uint,
};

module_param_cb(files, &files_ops, &files, 0644);
MODULE_PARM_DESC(files, "how many files a trace with detail lists, 1 to 4096 (default 256)");

/**
 * options_default_flags() - say what every trace is to have
 *
 * Return: OS_FTRACE_WIDE and its like
 */
unsigned int options_default_flags(void)
{
	return (READ_ONCE(wide) ? OS_FTRACE_WIDE : 0) |
	       (READ_ONCE(detail) ? OS_FTRACE_DETAIL : 0) |
	       (READ_ONCE(follow) ? OS_FTRACE_FOLLOW : 0);
}

/**
 * options_max_files() - say how many files a session may remember
 *
 * Return: their number
 */
unsigned int options_max_files(void)
{
	return READ_ONCE(files);
}
