// SPDX-License-Identifier: GPL-2.0
/*
 * iotracehooking: count what traced processes do to their files.
 *
 * Calls are counted where they return, in a probe on the tracepoint sys_exit that is there only
 * while a session is. No code of this module lies on the stack of a task that sleeps in a call,
 * so the module can go at any moment. A call counts for the session in which it returned.
 *
 * A result that makes the kernel start the call again (-ERESTARTSYS and its like) is not
 * counted: the call comes again. Where a signal handler without SA_RESTART turns it into EINTR
 * after the tracepoint, the call is not counted at all.
 */
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <asm/syscall.h>
#include <trace/events/sched.h>
#include <trace/events/syscalls.h>

#include "calls.h"
#include "compat.h"
#include "session.h"

/* Where a processor's probe puts a file name together, with preemption disabled. */
struct file_name {
	char bytes[PATH_MAX];
};

static struct file_name __percpu *file_names;

static struct tracepoint *sys_exit_tracepoint;
static struct tracepoint *process_exit_tracepoint;

/* Length of the name at a user's address, copied to name, or a negative error. */
static long copy_name(char *name, const char __user *address)
{
	long len;

	/* The probe can't sleep. The call has just read the name, so it is nearly always there. */
	pagefault_disable();
	len = strncpy_from_user(name, address, PATH_MAX);
	pagefault_enable();
	return len;
}

/* Let path be an open file's path, which lies at the end of name; its length, or an error. */
static long resolve_name(char *name, int fd, char **path)
{
	struct file *file = fget_raw(fd);
	long len;

	if (!file)
		return -EBADF;
	*path = d_path(&file->f_path, name, PATH_MAX);
	len = IS_ERR(*path) ? PTR_ERR(*path) : (long)strlen(*path);
	fput(file);
	return len;
}

/* Not inlined: the array would cost every traced call a check of the stack. */
static noinline void note_file(struct session *session, struct pt_regs *regs, long ret)
{
	char *name = this_cpu_ptr(file_names)->bytes;
	unsigned int argument = name_argument(syscall_get_nr(current, regs));
	unsigned long args[6];
	long len;

	syscall_get_arguments(current, regs, args);
	len = copy_name(name, (const char __user *)args[argument]);
	if (len < 0 && ret >= 0)
		len = resolve_name(this_cpu_ptr(file_names)->bytes, ret, &name);
	if (len >= 0)
		ftracehooking_set_file(session, name, len);
}

static bool comes_again(long ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK;
}

/* Not inlined: its stack frame would cost every other process' calls too. */
static noinline void count_call(struct session *session, struct pt_regs *regs, long ret)
{
	enum traced_call call = traced_call(syscall_get_nr(current, regs));
	struct session_counts *counts = this_cpu_ptr(session->counts);

	if (call == NOT_TRACED || comes_again(ret) || (call == CALL_CLOSE && ret))
		return;

	counts->calls[call]++;
	if (call == CALL_READ && ret > 0)
		counts->read_bytes += ret;
	else if (call == CALL_WRITE && ret > 0)
		counts->written_bytes += ret;
	else if (call == CALL_OPEN)
		note_file(session, regs, ret);
}

static void on_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	struct session *session;

	/* Since 6.13 the tracepoint itself is preemptible. */
	preempt_disable_notrace();
	session = session_find(task_tgid(current));
	if (unlikely(session))
		count_call(session, regs, ret);
	preempt_enable_notrace();
}

static void process_exits(struct task_struct *task, bool group_dead)
{
	if (group_dead)
		ftracehooking_end(task_tgid(task));
}

DEFINE_PROCESS_EXIT_PROBE(on_process_exit, process_exits)

static int arm(void)
{
	int err;

	/* A session must not outlive its process, so exits are seen first. */
	err = tracepoint_probe_register(process_exit_tracepoint, on_process_exit, NULL);
	if (err)
		return err;
	err = tracepoint_probe_register(sys_exit_tracepoint, on_sys_exit, NULL);
	if (err)
		tracepoint_probe_unregister(process_exit_tracepoint, on_process_exit, NULL);
	return err;
}

static void disarm(void)
{
	tracepoint_probe_unregister(sys_exit_tracepoint, on_sys_exit, NULL);
	tracepoint_probe_unregister(process_exit_tracepoint, on_process_exit, NULL);
	tracepoint_synchronize_unregister();
}

static const struct counter_ops counter_ops = {
	.arm = arm,
	.disarm = disarm,
};

static void take_tracepoint(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "sys_exit"))
		sys_exit_tracepoint = tracepoint;
	else if (!strcmp(tracepoint->name, "sched_process_exit"))
		process_exit_tracepoint = tracepoint;
}

static int __init iotracehooking_init(void)
{
	int err;

	/* They are registered as pointers to void; this is where the compiler checks them. */
	check_trace_callback_type_sys_exit(on_sys_exit);
	check_trace_callback_type_sched_process_exit(on_process_exit);

	for_each_kernel_tracepoint(take_tracepoint, NULL);
	if (!sys_exit_tracepoint || !process_exit_tracepoint) {
		pr_err("iotracehooking: this kernel lacks the tracepoints sys_exit and sched_process_exit\n");
		return -ENOENT;
	}

	file_names = alloc_percpu(struct file_name);
	if (!file_names)
		return -ENOMEM;
	err = ftracehooking_register_counter(&counter_ops);
	if (err)
		free_percpu(file_names);
	return err;
}

static void __exit iotracehooking_exit(void)
{
	ftracehooking_unregister_counter();
	free_percpu(file_names);
}

module_init(iotracehooking_init);
module_exit(iotracehooking_exit);

MODULE_DESCRIPTION("Count what traced processes do to their files, for ftracehooking");
MODULE_LICENSE("GPL");
