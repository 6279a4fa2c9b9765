/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answer one system call number in place of the kernel.
 *
 * The syscall table can't be patched: since spring 2024 kernels dispatch through a switch and
 * don't read it. Instead kprobes sit on the functions that the number may lead to: os_ftrace, on
 * a kernel that has it, and the one behind every unused number. For the one number they move the
 * instruction pointer to redirected_call(), which returns to the dispatcher in the original's
 * place.
 *
 * This is a header with code because two modules need it, and an object belongs to one module.
 */
#ifndef REDIRECT_H
#define REDIRECT_H

#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/thread_info.h>
#include <linux/wait_bit.h>

#define NR_OS_FTRACE 336

static unsigned int nr = NR_OS_FTRACE;
module_param(nr, uint, 0444);
MODULE_PARM_DESC(nr, "number of the system call (default 336)");

static long (*redirect_answer)(pid_t pid);

/* Calls between the probe and the end of redirected_call(): the module must not go before them. */
static atomic_t inside = ATOMIC_INIT(0);

static asmlinkage long redirected_call(void)
{
	long ret = redirect_answer((pid_t)task_pt_regs(current)->di);

	if (atomic_dec_and_test(&inside))
		wake_up_var(&inside);
	return ret;
}

static int redirect_before(struct kprobe *probe, struct pt_regs *regs)
{
	if (task_pt_regs(current)->orig_ax != nr || in_ia32_syscall())
		return 0;

	atomic_inc(&inside);
	regs->ip = (unsigned long)redirected_call;
	return 1;
}

NOKPROBE_SYMBOL(redirect_before);

/*
 * Does nothing, but must be there: a probe without it may be optimised into a jump, or placed
 * through an ftrace that may not change the instruction pointer; both would ignore the redirect.
 */
static void redirect_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

NOKPROBE_SYMBOL(redirect_after);

static struct kprobe own_call = {
	.symbol_name = "__x64_sys_os_ftrace",
	.pre_handler = redirect_before,
	.post_handler = redirect_after,
};

static struct kprobe unused_calls = {
	.symbol_name = "__x64_sys_ni_syscall",
	.pre_handler = redirect_before,
	.post_handler = redirect_after,
};

static struct kprobe *placed[2];
static int placed_count;

/* kallsyms can't be asked by a module; a probe that is never armed can. */
static bool kernel_has(const char *symbol)
{
	struct kprobe question = {
		.symbol_name = symbol,
		.flags = KPROBE_FLAG_DISABLED,
	};
	int err = register_kprobe(&question);

	if (!err)
		unregister_kprobe(&question);
	return err != -ENOENT;
}

static int install_probe(struct kprobe *probe)
{
	int err = register_kprobe(probe);

	if (err)
		pr_err(KBUILD_MODNAME ": can't place a kprobe on %s: error %d\n",
		       probe->symbol_name, err);
	else
		placed[placed_count++] = probe;
	return err;
}

/**
 * redirect_remove() - let the kernel answer again
 *
 * Return only when no call is in the module's code any more. May sleep.
 */
static void redirect_remove(void)
{
	/* Waits for the handlers, so that every call on its way is counted from here on. */
	unregister_kprobes(placed, placed_count);
	wait_var_event(&inside, !atomic_read(&inside));
	/* A task may still stand between the decrement and the return to the kernel. */
	synchronize_rcu_tasks();
}

/**
 * redirect_install() - answer the system call number of the parameter nr
 * @answer: called in the caller's context with the call's first argument; may sleep
 *
 * Return: 0, -EBUSY if the kernel uses the number for something else, or why no kprobe can be
 * placed
 */
static int redirect_install(long (*answer)(pid_t pid))
{
	int err = 0;

	if (nr == NR_OS_FTRACE && kernel_has("__x64_sys_uprobe"))
		return -EBUSY;

	redirect_answer = answer;
	if (kernel_has(own_call.symbol_name))
		err = install_probe(&own_call);
	if (!err)
		err = install_probe(&unused_calls);
	if (err)
		redirect_remove();
	return err;
}

#endif /* REDIRECT_H */
