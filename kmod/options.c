// SPDX-License-Identifier: GPL-2.0
/* The parameters that say what a trace is like that doesn't say so itself. */
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "options.h"
#include "os_ftrace.h"

static bool wide;
module_param(wide, bool, 0644);
MODULE_PARM_DESC(wide, "print a line a call, of a wider family of calls (default N)");

static bool detail;
module_param(detail, bool, 0644);
MODULE_PARM_DESC(detail, "print a line a file (default N)");

static bool follow;
module_param(follow, bool, 0644);
MODULE_PARM_DESC(follow, "trace children too, each on its own (default N)");

/* Both parameters take as many. */
#define LIMIT_MAX 4096

static unsigned int files = 256;
static unsigned int traces = 1024;

static int set_limit(const char *text, const struct kernel_param *param)
{
	unsigned int number;
	int err = kstrtouint(text, 0, &number);

	if (!err && (number < 1 || number > LIMIT_MAX))
		err = -ERANGE;
	if (err)
		pr_err(KBUILD_MODNAME ": %s= takes a number from 1 to %d\n", param->name,
		       LIMIT_MAX);
	else
		WRITE_ONCE(*(unsigned int *)param->arg, number);
	return err;
}

static const struct kernel_param_ops limit_ops = {
	.set = set_limit,
	.get = param_get_uint,
};

module_param_cb(files, &limit_ops, &files, 0644);
__MODULE_PARM_TYPE(files, "uint");
MODULE_PARM_DESC(files, "how many files a trace with detail lists, 1 to 4096 (default 256)");

module_param_cb(traces, &limit_ops, &traces, 0644);
__MODULE_PARM_TYPE(traces, "uint");
MODULE_PARM_DESC(traces, "how many traces there may be at once, 1 to 4096 (default 1024)");

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

/**
 * options_max_traces() - say how many sessions there may be
 *
 * Return: their number
 */
int options_max_traces(void)
{
	return READ_ONCE(traces);
}
