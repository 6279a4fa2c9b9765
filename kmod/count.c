// SPDX-License-Identifier: GPL-2.0
/* Count one call of a session: the lab's counts, the wide family's, the last file's name. */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/syscall.h>

#include "count.h"
#include "session.h"

static const char __user *second_argument(const struct pt_regs *regs)
{
	return (const char __user *)(in_ia32_syscall() ? regs->cx : regs->si);
}

/* Length of the beginning of the name at a user's address, copied to name, or a negative error. */
static long copy_name(char *name, const char __user *address)
{
	long len;

	/* The probe can't sleep. The call has just read the name, so it is nearly always there. */
	pagefault_disable();
	len = strncpy_from_user(name, address, NAME_KEPT);
	pagefault_enable();
	return len;
}

/* Note the name passed to an openat() that has completed. */
static void count_name(struct session *session, struct pt_regs *regs, long ret)
{
	const char *name = path_buffer();
	unsigned long irq;
	long len;

	len = copy_name(path_buffer(), second_argument(regs));
	if (len < 0 && ret >= 0)
		len = descriptor_path(ret, &name, NULL);
	if (len < 0)
		return;
	if (len > NAME_KEPT)
		len = NAME_KEPT;
	raw_spin_lock_irqsave(&session->name_lock, irq);
	memcpy(session->name, name, len);
	session->name_len = len;
	raw_spin_unlock_irqrestore(&session->name_lock, irq);
}

static void count_lab(struct session *session, enum traced_call traced, long ret)
{
	struct lab_counts *counts = &session->lab[smp_processor_id()];

	if (traced == CALL_CLOSE && ret)
		return;
	counts->calls[traced]++;
	if (ret > 0)
		counts->results[traced] += ret;
}

static bool executes(enum traced_call traced)
{
	return call_shapes[traced].role == ROLE_EXECUTE;
}

static bool maps_no_file(enum traced_call traced, const unsigned long *arguments)
{
	return traced == CALL_MMAP && arguments[3] & MAP_ANONYMOUS;
}

static u64 bytes_moved(enum traced_call traced, const unsigned long *arguments, long ret)
{
	switch (call_shapes[traced].role) {
	case ROLE_TRANSFER:
		return ret;
	case ROLE_MAP:
		return arguments[1];
	default:
		return 0;
	}
}

static void count_time(struct session *session, struct thread_call *call)
{
	if (call->entered_ns)
		atomic64_add(ktime_get_mono_fast_ns() - call->entered_ns,
			     &session->wide->of[call->traced].ns);
	call->entered_ns = 0;
}

static void count_wide(struct session *session, struct thread_call *call, enum traced_call traced,
		       const unsigned long *arguments, long ret)
{
	struct call_counts *counts = &session->wide->of[traced];
	u64 bytes = 0;

	atomic64_inc(&counts->calls);
	if (IS_ERR_VALUE(ret))
		atomic64_inc(&counts->errors);
	else
		bytes = bytes_moved(traced, arguments, ret);
	if (bytes)
		atomic64_add(bytes, &counts->bytes);
	if (call)
		count_time(session, call);
	else
		atomic64_inc(&session->untimed);
}

/* The call that the current thread was seen to enter and that now returns, or NULL. */
static struct thread_call *entered_call(struct session *session, enum traced_call traced)
{
	struct thread_call *call = thread_call_find(session);

	if (!call || !call->seen)
		return NULL;
	/* A successful execveat() returns as execve(). */
	if (call->traced != traced && !(executes(call->traced) && executes(traced)))
		return NULL;
	return call;
}

/* Count what OS_FTRACE_WIDE and OS_FTRACE_DETAIL ask for. */
static void count_extra(struct session *session, enum traced_call traced, struct pt_regs *regs,
			long ret)
{
	struct thread_call *call = entered_call(session, traced);
	unsigned long arguments[6];

	if (call)
		traced = call->traced;
	syscall_get_arguments(current, regs, arguments);
	if (!maps_no_file(traced, arguments)) {
		if (session->flags & OS_FTRACE_WIDE)
			count_wide(session, call, traced, arguments, ret);
		if (session->flags & OS_FTRACE_DETAIL)
			file_use_count(session, call, traced, arguments, ret);
	}
	if (call)
		call->seen = false;
}

/**
 * count_call() - count a call of the current thread that has completed
 * @session: the session of its process
 * @regs: its registers
 * @ret: the result of the call
 *
 * With a result of -EINTR also callable with interrupts off and the lock of signals held.
 */
void count_call(struct session *session, struct pt_regs *regs, long ret)
{
	enum traced_call traced = traced_call(regs->orig_ax);

	if (traced == CALL_NONE)
		return;
	if (traced < LAB_CALLS)
		count_lab(session, traced, ret);
	if (traced == CALL_OPENAT)
		count_name(session, regs, ret);
	if (session->flags & TIMED)
		count_extra(session, traced, regs, ret);
	if (executes(traced) && !ret)
		ftracehooking_executes(session);
}

/**
 * count_entry() - note that the current thread enters a call
 * @session: the session of its process, with OS_FTRACE_WIDE or OS_FTRACE_DETAIL
 * @regs: its registers
 * @nr: number of the call
 */
void count_entry(struct session *session, struct pt_regs *regs, long nr)
{
	enum traced_call traced = traced_call(nr);
	unsigned long arguments[6];
	struct thread_call *call;

	if (traced == CALL_NONE)
		return;
	call = thread_call_get(session);
	if (!call)
		return;

	call->traced = traced;
	call->seen = true;
	call->entered_ns = ktime_get_mono_fast_ns();
	if (session->flags & OS_FTRACE_DETAIL) {
		syscall_get_arguments(current, regs, arguments);
		file_use_entry(session, call, traced, arguments);
	}
}

/**
 * count_again() - count the time of a call of the current thread that may be started again
 * @session: the session of its process
 * @regs: its registers
 *
 * What comes next, the same call or a handler's, is timed from its own beginning.
 */
void count_again(struct session *session, struct pt_regs *regs)
{
	struct thread_call *call;

	if (!(session->flags & OS_FTRACE_WIDE))
		return;
	call = entered_call(session, traced_call(syscall_get_nr(current, regs)));
	if (call)
		count_time(session, call);
}

/**
 * count_thread_exit() - forget a thread
 * @session: the session of its process
 * @thread: the thread, running
 */
void count_thread_exit(struct session *session, const struct task_struct *thread)
{
	if (session->flags & TIMED)
		thread_call_remove(session, thread);
}

/**
 * count_init() - get ready to count
 *
 * Return: 0 or -ENOMEM
 */
int count_init(void)
{
	return file_use_init();
}

/**
 * count_exit() - give back what counting needed
 */
void count_exit(void)
{
	file_use_exit();
}
