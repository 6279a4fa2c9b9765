// SPDX-License-Identifier: GPL-2.0
/*
 * iotracehooking: count what traced processes do to their files.
 *
 * Calls are counted where they return, in a probe on the tracepoint sys_exit. No code of this
 * module lies on the stack of a task that sleeps in a call, so the module can go at any moment. A
 * call counts for the session in which it returned.
 *
 * A result that makes the kernel start the call again (-ERESTARTSYS and its like) is not counted:
 * the call comes again. Whether it does depends on the handler of the signal that interrupted it,
 * so signals are seen too: the call that a handler ends counts, as failed with EINTR.
 */
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <asm/syscall.h>
#include <trace/events/sched.h>
#include <trace/events/signal.h>
#include <trace/events/syscalls.h>

#include "compat.h"
#include "count.h"
#include "session.h"

static bool comes_again(long ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK;
}

/* What kernels do with such a result when a handler is called (handle_signal() of the x86). */
static bool handler_ends(long ret, const struct k_sigaction *action)
{
	switch (ret) {
	case -ERESTART_RESTARTBLOCK:
	case -ERESTARTNOHAND:
		return true;
	case -ERESTARTSYS:
		return !(action->sa.sa_flags & SA_RESTART);
	default:
		return false;
	}
}

static bool has_handler(const struct k_sigaction *action)
{
	return action->sa.sa_handler != SIG_DFL && action->sa.sa_handler != SIG_IGN;
}

/*
 * The probes of calls are what every process pays for while a session is: they leave at once where
 * the process can't have one. The rest is not inlined, as its stack frame would cost the others,
 * and has the same arguments, so that none has to be moved.
 */
static noinline __noclone void call_enters(void *data, struct pt_regs *regs, long nr)
{
	struct session *session;

	call_probe_begins();
	session = session_find(current);
	if (session && session->flags & TIMED)
		count_entry(session, regs, nr);
	call_probe_ends();
}

static void on_sys_enter(void *data, struct pt_regs *regs, long nr)
{
	if (unlikely(session_possible(current)))
		call_enters(data, regs, nr);
}

static noinline void count_result(struct session *session, struct pt_regs *regs, long ret)
{
	if (comes_again(ret))
		count_again(session, regs);
	else
		count_call(session, regs, ret);
}

static noinline __noclone void call_returns(void *data, struct pt_regs *regs, long ret)
{
	struct session *session;

	call_probe_begins();
	session = session_find(current);
	if (session && !count_plainly(session, regs, ret))
		count_result(session, regs, ret);
	call_probe_ends();
}

static void on_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	if (unlikely(session_possible(current)))
		call_returns(data, regs, ret);
}

static void on_signal_deliver(void *data, int number, struct kernel_siginfo *info,
			      struct k_sigaction *action)
{
	struct pt_regs *regs = task_pt_regs(current);
	struct session *session;

	if (!has_handler(action) || syscall_get_nr(current, regs) == -1 ||
	    !handler_ends(syscall_get_error(current, regs), action))
		return;

	preempt_disable_notrace();
	session = session_find(current);
	if (session)
		count_call(session, regs, -EINTR);
	preempt_enable_notrace();
}

static void on_process_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	if (session_possible(parent))
		ftracehooking_forks(parent, child);
}

static void process_exits(struct task_struct *task, bool group_dead)
{
	struct session *session;

	if (!session_possible(task))
		return;

	preempt_disable_notrace();
	session = session_find(task);
	if (session)
		count_thread_exit(session, task);
	preempt_enable_notrace();
	if (group_dead)
		ftracehooking_ends(task);
}

DEFINE_PROCESS_EXIT_PROBE(on_process_exit, process_exits)

/* In the order in which they are registered: a session must not outlive its process. */
static struct probe {
	const char *name;
	void *function;
	unsigned int feature;
	struct tracepoint *tracepoint;
	bool registered;
} probes[] = {
	{ "sched_process_exit", on_process_exit, FEATURE_COUNT },
	{ "sched_process_fork", on_process_fork, FEATURE_FOLLOW },
	{ "signal_deliver", on_signal_deliver, FEATURE_COUNT },
	{ "sys_enter", on_sys_enter, FEATURE_ENTRY },
	{ "sys_exit", on_sys_exit, FEATURE_COUNT },
};

static int register_wanted(unsigned int features)
{
	struct probe *probe;
	int err;

	for (probe = probes; probe < probes + ARRAY_SIZE(probes); probe++) {
		if (probe->registered || !(probe->feature & features))
			continue;
		err = tracepoint_probe_register(probe->tracepoint, probe->function, NULL);
		if (err)
			return err;
		probe->registered = true;
	}
	return 0;
}

/* Older kernels need memory to forget a probe. */
static void unregister_surely(struct probe *probe)
{
	while (tracepoint_probe_unregister(probe->tracepoint, probe->function, NULL) == -ENOMEM)
		msleep(20);
	probe->registered = false;
}

static void unregister_unwanted(unsigned int features)
{
	bool unregistered = false;
	struct probe *probe;

	for (probe = probes + ARRAY_SIZE(probes) - 1; probe >= probes; probe--) {
		if (!probe->registered || probe->feature & features)
			continue;
		unregister_surely(probe);
		unregistered = true;
	}
	if (unregistered)
		tracepoint_synchronize_unregister();
}

static int set_features(unsigned int features)
{
	static unsigned int had;
	int err = register_wanted(features);

	if (err)
		features = had;
	unregister_unwanted(features);
	had = features;
	return err;
}

static const struct counter_ops counter_ops = {
	.set_features = set_features,
};

static void take_tracepoint(struct tracepoint *tracepoint, void *unused)
{
	struct probe *probe;

	for (probe = probes; probe < probes + ARRAY_SIZE(probes); probe++)
		if (!strcmp(tracepoint->name, probe->name))
			probe->tracepoint = tracepoint;
}

static bool find_tracepoints(void)
{
	bool found = true;
	struct probe *probe;

	for_each_kernel_tracepoint(take_tracepoint, NULL);
	for (probe = probes; probe < probes + ARRAY_SIZE(probes); probe++) {
		if (probe->tracepoint)
			continue;
		pr_err("iotracehooking: this kernel lacks the tracepoint %s\n", probe->name);
		found = false;
	}
	return found;
}

static int __init iotracehooking_init(void)
{
	int err;

	/* They are registered as pointers to void; this is where the compiler checks them. */
	check_trace_callback_type_sched_process_exit(on_process_exit);
	check_trace_callback_type_sched_process_fork(on_process_fork);
	check_trace_callback_type_signal_deliver(on_signal_deliver);
	check_trace_callback_type_sys_enter(on_sys_enter);
	check_trace_callback_type_sys_exit(on_sys_exit);

	if (!find_tracepoints())
		return -ENOENT;
	err = count_init();
	if (err)
		return err;
	err = ftracehooking_register_counter(&counter_ops);
	if (err)
		count_exit();
	return err;
}

static void __exit iotracehooking_exit(void)
{
	ftracehooking_unregister_counter();
	count_exit();
}

module_init(iotracehooking_init);
module_exit(iotracehooking_exit);

MODULE_AUTHOR("The logtrace developers");
MODULE_DESCRIPTION("Count what traced processes do to their files, for ftracehooking");
MODULE_VERSION(LOGTRACE_VERSION);
MODULE_LICENSE("GPL");
