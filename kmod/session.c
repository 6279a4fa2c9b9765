// SPDX-License-Identifier: GPL-2.0
/*
 * The table of sessions: who may start one, and when each begins and ends.
 *
 * A session ends once, by whoever takes it out of the table: the process itself with
 * os_ftrace(0), its exit, or the counter's module going away. The last two threads of a
 * process, or the first two of these, may try at the same time.
 *
 * Locks, outer first: counter_lock (sleeps), table_lock, file_lock. table_lock is raw because
 * the end of a process is seen from a tracepoint, with preemption disabled.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/pid_namespace.h>
#include <linux/printk.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "lines.h"
#include "session.h"

/* Guards counter and armed; no session begins without it. */
static DEFINE_MUTEX(counter_lock);
static const struct counter_ops *counter;
static bool armed;

/* Guards changes of the table and the lines they print, so that lines of two sessions never mix. */
static DEFINE_RAW_SPINLOCK(table_lock);
struct hlist_head ftracehooking_table[1 << FTRACEHOOKING_TABLE_BITS];
EXPORT_SYMBOL_GPL(ftracehooking_table);
static unsigned int active;

static struct session *session_alloc(struct pid *process)
{
	struct session *session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);

	if (!session)
		return NULL;
	session->counts = alloc_percpu_gfp(struct session_counts, GFP_KERNEL_ACCOUNT);
	if (!session->counts) {
		kfree(session);
		return NULL;
	}
	session->process = get_pid(process);
	raw_spin_lock_init(&session->file_lock);
	return session;
}

static void session_free(struct rcu_head *rcu)
{
	struct session *session = container_of(rcu, struct session, rcu);

	put_pid(session->process);
	free_percpu(session->counts);
	kfree(session);
}

/**
 * session_sum() - add up what the processors counted
 * @session: a session in the table or just taken out of it
 * @sum: set to the sum
 */
void session_sum(const struct session *session, struct session_counts *sum)
{
	int cpu, call;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct session_counts *counts = per_cpu_ptr(session->counts, cpu);

		for (call = 0; call < TRACED_CALLS; call++)
			sum->calls[call] += READ_ONCE(counts->calls[call]);
		sum->read_bytes += READ_ONCE(counts->read_bytes);
		sum->written_bytes += READ_ONCE(counts->written_bytes);
	}
}

/**
 * ftracehooking_set_file() - note the file that the process opened last
 * @session: the process' session
 * @file: the name, any bytes
 * @len: their number, at most PATH_MAX
 */
void ftracehooking_set_file(struct session *session, const char *file, size_t len)
{
	raw_spin_lock(&session->file_lock);
	memcpy(session->file, file, len);
	session->file_len = len;
	raw_spin_unlock(&session->file_lock);
}
EXPORT_SYMBOL_GPL(ftracehooking_set_file);

/* Stop counting after the last session, from where sleeping is allowed. */
static void disarm_idle(struct work_struct *work)
{
	mutex_lock(&counter_lock);
	if (armed && !READ_ONCE(active)) {
		counter->disarm();
		armed = false;
	}
	mutex_unlock(&counter_lock);
}

static DECLARE_WORK(disarm_work, disarm_idle);

static void session_end_locked(struct session *session)
{
	lockdep_assert_held(&table_lock);

	hash_del_rcu(&session->node);
	lines_print_end(session);
	WRITE_ONCE(active, active - 1);
	if (!active)
		schedule_work(&disarm_work);
	call_rcu(&session->rcu, session_free);
}

/**
 * ftracehooking_end() - end the session of a process, if it has one
 * @process: the pid of the process' thread group
 *
 * Prints the session's lines. Callable with preemption disabled, from the context of a task.
 *
 * Return: whether there was a session
 */
bool ftracehooking_end(struct pid *process)
{
	struct session *session;

	/* Most processes that exit were never traced: don't make them wait for the lock. */
	rcu_read_lock();
	session = session_find(process);
	rcu_read_unlock();
	if (!session)
		return false;

	raw_spin_lock(&table_lock);
	session = session_find(process);
	if (session)
		session_end_locked(session);
	raw_spin_unlock(&table_lock);
	return session;
}
EXPORT_SYMBOL_GPL(ftracehooking_end);

static bool has_exited(struct task_struct *task)
{
	return !atomic_read(&task->signal->live);
}

/* The rule of ptrace: your own processes, or the capability over the target's user namespace. */
static bool may_trace(struct task_struct *task)
{
	const struct cred *own = current_cred();
	const struct cred *other = __task_cred(task);

	if (same_thread_group(task, current))
		return true;
	if (uid_eq(own->uid, other->uid) && uid_eq(own->uid, other->euid) &&
	    uid_eq(own->uid, other->suid) && gid_eq(own->gid, other->gid) &&
	    gid_eq(own->gid, other->egid) && gid_eq(own->gid, other->sgid))
		return true;
	return ns_capable(other->user_ns, CAP_SYS_PTRACE);
}

/* Find the process that nr is, or has a thread of, for the caller, and hold its pid. */
static struct pid *find_process(pid_t nr)
{
	struct task_struct *task;
	struct pid *process;

	rcu_read_lock();
	task = nr > 0 ? pid_task(find_vpid(nr), PIDTYPE_PID) : NULL;
	process = task ? task_tgid(task) : NULL;
	if (!process || has_exited(task))
		process = ERR_PTR(-ESRCH);
	else if ((task->flags & PF_KTHREAD) || !may_trace(task))
		process = ERR_PTR(-EPERM);
	else
		get_pid(process);
	rcu_read_unlock();
	return process;
}

static bool is_traced(struct pid *process)
{
	bool traced;

	rcu_read_lock();
	traced = session_find(process);
	rcu_read_unlock();
	return traced;
}

static int session_start_locked(struct session *session)
{
	int err;

	lockdep_assert_held(&counter_lock);

	if (!counter) {
		pr_err_ratelimited("nothing counts: load iotracehooking first\n");
		return -ENODEV;
	}
	if (is_traced(session->process))
		return -EBUSY;
	if (!armed) {
		err = counter->arm();
		if (err)
			return err;
		armed = true;
	}

	raw_spin_lock(&table_lock);
	WRITE_ONCE(active, active + 1);
	lines_print_start(session);
	hash_add_rcu(ftracehooking_table, &session->node,
		     (unsigned long)session->process);
	raw_spin_unlock(&table_lock);
	return 0;
}

/* A process that exited before its session was in the table was not seen to exit. */
static void end_if_exited(struct pid *process)
{
	struct task_struct *task;
	bool exited;

	/* Pairs with the barrier of do_exit() counting the process' threads down. */
	smp_mb();
	rcu_read_lock();
	task = pid_task(process, PIDTYPE_TGID);
	exited = !task || has_exited(task);
	rcu_read_unlock();
	if (exited)
		ftracehooking_end(process);
}

/**
 * session_start() - start to trace a process
 * @nr: its pid, or that of one of its threads, in the caller's pid namespace
 *
 * Return: 0, -ESRCH if there is no such process, -EPERM if the caller may not trace it, -EBUSY
 * if it is traced already, -ENODEV if no counter is loaded, -ENOMEM
 */
long session_start(pid_t nr)
{
	struct session *session;
	struct pid *process;
	long err;

	process = find_process(nr);
	if (IS_ERR(process)) {
		err = PTR_ERR(process);
		if (err == -ESRCH)
			lines_print_unknown(nr);
		return err;
	}

	err = -ENOMEM;
	session = session_alloc(process);
	if (session) {
		mutex_lock(&counter_lock);
		err = session_start_locked(session);
		mutex_unlock(&counter_lock);
		if (err)
			session_free(&session->rcu);
		else
			end_if_exited(process);
	}
	put_pid(process);
	return err;
}

/**
 * ftracehooking_register_counter() - let sessions begin
 * @ops: how to begin and stop to count
 *
 * Return: 0, or -EBUSY if there is a counter already
 */
int ftracehooking_register_counter(const struct counter_ops *ops)
{
	int err = 0;

	mutex_lock(&counter_lock);
	if (counter)
		err = -EBUSY;
	else
		counter = ops;
	mutex_unlock(&counter_lock);
	return err;
}
EXPORT_SYMBOL_GPL(ftracehooking_register_counter);

static bool end_one_session(void)
{
	struct session *session = NULL;
	int bucket;

	raw_spin_lock(&table_lock);
	hash_for_each(ftracehooking_table, bucket, session, node) {
		session_end_locked(session);
		break;
	}
	raw_spin_unlock(&table_lock);
	return session;
}

/**
 * ftracehooking_unregister_counter() - end every session and stop to count
 *
 * On return none of the counter's code runs or will run.
 */
void ftracehooking_unregister_counter(void)
{
	mutex_lock(&counter_lock);
	while (end_one_session())
		cond_resched();
	if (armed)
		counter->disarm();
	armed = false;
	counter = NULL;
	mutex_unlock(&counter_lock);
}
EXPORT_SYMBOL_GPL(ftracehooking_unregister_counter);

/**
 * session_exit() - wait for what sessions left behind
 *
 * Called when no session can begin and every one has ended.
 */
void session_exit(void)
{
	cancel_work_sync(&disarm_work);
	rcu_barrier();
}
