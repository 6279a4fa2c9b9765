// SPDX-License-Identifier: GPL-2.0
/*
 * The table of sessions: who may start one, and when each begins and ends.
 *
 * A session ends once, by whoever takes it out of the table: the process itself, somebody who may
 * trace it, its exit, or the counter's module going away. Several may try at the same time.
 *
 * A process may exit and fork where nothing may sleep, but printing many lines takes its time.
 * So what is to be printed is queued, in the order in which it happened, and printed from where
 * sleeping is allowed.
 *
 * Locks, outer first: counter_lock (sleeps), print_lock (sleeps), table_lock. table_lock is raw
 * because processes are seen to exit and to fork from tracepoints, with preemption disabled.
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
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "files.h"
#include "lines.h"
#include "options.h"
#include "session.h"

/* Guards counter and what it sees; no session is started by hand without it. */
static DEFINE_MUTEX(counter_lock);
static const struct counter_ops *counter;

/* Taken to print, so that lines of two sessions never mix. */
static DEFINE_MUTEX(print_lock);

/* Guards changes of what follows. */
static DEFINE_RAW_SPINLOCK(table_lock);
struct hlist_head ftracehooking_sessions[SESSION_BUCKETS];
EXPORT_SYMBOL_GPL(ftracehooking_sessions);
u8 ftracehooking_marks[1 << 16];
EXPORT_SYMBOL_GPL(ftracehooking_marks);
static unsigned int users[FEATURES];
static LIST_HEAD(unprinted);

static void session_free(struct session *session)
{
	session_files_free(session);
	put_pid(session->process);
	put_pid(session->family);
	free_percpu(session->lab);
	free_percpu(session->wide);
	kfree(session);
}

static void session_free_rcu(struct rcu_head *rcu)
{
	session_free(container_of(rcu, struct session, rcu));
}

static struct session *session_alloc(struct pid *process, struct pid *family, unsigned int flags,
				     gfp_t gfp)
{
	struct session *session = kzalloc(sizeof(*session), gfp);

	if (!session)
		return NULL;
	session->begins.session = session;
	session->ends.session = session;
	session->process = get_pid(process);
	session->family = get_pid(family);
	session->flags = flags;
	raw_spin_lock_init(&session->name_lock);
	raw_spin_lock_init(&session->threads.lock);
	session_files_init(session);

	session->lab = alloc_percpu_gfp(struct lab_counts, gfp);
	if (flags & OS_FTRACE_WIDE)
		session->wide = alloc_percpu_gfp(struct wide_counts, gfp);
	if (!session->lab || (flags & OS_FTRACE_WIDE && !session->wide)) {
		session_free(session);
		return NULL;
	}
	return session;
}

static struct session_event *next_event(void)
{
	struct session_event *event;

	raw_spin_lock(&table_lock);
	event = list_first_entry_or_null(&unprinted, struct session_event, node);
	if (event)
		list_del(&event->node);
	raw_spin_unlock(&table_lock);
	return event;
}

/* When it returns, everything that had been queued when it was called is printed. */
static void print_queued(void)
{
	struct session_event *event;

	mutex_lock(&print_lock);
	while ((event = next_event())) {
		struct session *session = event->session;

		if (event == &session->begins) {
			lines_print_start(session);
		} else {
			lines_print_end(session);
			call_rcu(&session->rcu, session_free_rcu);
		}
		cond_resched();
	}
	mutex_unlock(&print_lock);
}

static void print_later(struct work_struct *work)
{
	print_queued();
}

static DECLARE_WORK(print_work, print_later);

static unsigned int needed_features(const struct session *session)
{
	unsigned int features = FEATURE_COUNT;

	if (session->flags & (OS_FTRACE_WIDE | OS_FTRACE_DETAIL))
		features |= FEATURE_ENTRY;
	if (session->flags & OS_FTRACE_FOLLOW)
		features |= FEATURE_FOLLOW;
	return features;
}

static unsigned int used_features(void)
{
	unsigned int features = 0;
	int i;

	raw_spin_lock(&table_lock);
	for (i = 0; i < FEATURES; i++)
		if (users[i])
			features |= BIT(i);
	raw_spin_unlock(&table_lock);
	return features;
}

/* Stop to see what no session needs any more, from where sleeping is allowed. */
static void rest_counter(struct work_struct *work)
{
	mutex_lock(&counter_lock);
	if (counter)
		counter->set_features(used_features());
	mutex_unlock(&counter_lock);
}

static DECLARE_WORK(rest_work, rest_counter);

/* As many processes as there are pids with the same last bits: at most 64. */
static u8 *mark_of(const struct session *session)
{
	return &ftracehooking_marks[(u16)pid_nr(session->process)];
}

static void session_add_locked(struct session *session)
{
	unsigned int features = needed_features(session);
	int i;

	lockdep_assert_held(&table_lock);

	for (i = 0; i < FEATURES; i++)
		users[i] += !!(features & BIT(i));
	list_add_tail(&session->begins.node, &unprinted);
	hlist_add_head_rcu(&session->node, session_bucket(pid_nr(session->process)));
	WRITE_ONCE(*mark_of(session), *mark_of(session) + 1);
}

static void session_remove_locked(struct session *session)
{
	unsigned int features = needed_features(session);
	int i;

	lockdep_assert_held(&table_lock);

	hlist_del_init_rcu(&session->node);
	WRITE_ONCE(*mark_of(session), *mark_of(session) - 1);
	for (i = 0; i < FEATURES; i++) {
		if (!(features & BIT(i)))
			continue;
		if (!--users[i])
			schedule_work(&rest_work);
	}
}

/*
 * Take a session out of the table, note what is only known now and queue its lines; all at once,
 * so that the lines of the process' next session come behind. The caller is in an RCU read-side
 * section. Return whether the session had not ended before.
 */
static bool session_end(struct session *session)
{
	struct task_struct *task = pid_task(session->process, PIDTYPE_TGID);
	bool ended;

	raw_spin_lock(&table_lock);
	ended = !hlist_unhashed(&session->node);
	if (ended) {
		session_remove_locked(session);
		strscpy(session->comm, task ? task->comm : "?", sizeof(session->comm));
		if (task)
			session_files_end(session, task);
		list_add_tail(&session->ends.node, &unprinted);
	}
	raw_spin_unlock(&table_lock);
	return ended;
}

/**
 * ftracehooking_exits() - end the session of a process that exits
 * @task: the last of its threads, running
 *
 * Callable with preemption disabled; the lines are printed soon.
 */
void ftracehooking_exits(struct task_struct *task)
{
	struct session *session;

	rcu_read_lock();
	session = session_find(task);
	if (session && session_end(session))
		schedule_work(&print_work);
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(ftracehooking_exits);

static bool session_add_followed(struct session *session, struct session *parent)
{
	bool added;

	raw_spin_lock(&table_lock);
	/* While the parent's session is there, the counter sees what this one needs. */
	added = !hlist_unhashed(&parent->node);
	if (added)
		session_add_locked(session);
	raw_spin_unlock(&table_lock);
	return added;
}

/**
 * ftracehooking_forks() - follow a child of a process whose session asks for it
 * @parent: the thread that forks, running
 * @child: what it made, a thread or a process that has not run yet
 *
 * Callable with preemption disabled.
 */
void ftracehooking_forks(struct task_struct *parent, struct task_struct *child)
{
	struct session *followed, *session;

	if (same_thread_group(parent, child))
		return;

	rcu_read_lock();
	session = session_find(parent);
	if (session && session->flags & OS_FTRACE_FOLLOW) {
		followed = session_alloc(task_tgid(child), session->family, session->flags,
					 GFP_ATOMIC | __GFP_NOWARN);
		if (!followed) {
			atomic64_inc(&session->lost_children);
		} else {
			followed->parent = pid_nr(session->process);
			if (session_add_followed(followed, session))
				schedule_work(&print_work);
			else
				session_free(followed);
		}
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(ftracehooking_forks);

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

/*
 * Find the process that nr is, or has a thread of, for the caller, and hold its pid; 0 is the
 * caller's own.
 */
static struct pid *find_process(pid_t nr)
{
	struct task_struct *task = NULL;
	struct pid *process;

	rcu_read_lock();
	if (!nr)
		task = current;
	else if (nr > 0)
		task = pid_task(find_vpid(nr), PIDTYPE_PID);
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

/* The session of a process, held by rcu_read_lock(). */
static struct session *find_by_pid(struct pid *process)
{
	struct session *session;

	hlist_for_each_entry_rcu(session, session_bucket(pid_nr(process)), node)
		if (session->process == process)
			return session;
	return NULL;
}

static bool is_traced(struct pid *process)
{
	bool traced;

	rcu_read_lock();
	traced = find_by_pid(process);
	rcu_read_unlock();
	return traced;
}

static bool end_by_pid(struct pid *process)
{
	struct session *session;
	bool ended;

	rcu_read_lock();
	session = find_by_pid(process);
	ended = session && session_end(session);
	rcu_read_unlock();
	return ended;
}

/* End one session, of the family if that is not NULL; tell whether there was one. */
static bool end_one(struct pid *family)
{
	struct session *session;
	bool ended = false;
	int i;

	rcu_read_lock();
	for (i = 0; i < SESSION_BUCKETS && !ended; i++) {
		hlist_for_each_entry_rcu(session, &ftracehooking_sessions[i], node) {
			if (family && session->family != family)
				continue;
			ended = session_end(session);
			if (ended)
				break;
		}
	}
	rcu_read_unlock();
	return ended;
}

static int session_start_locked(struct session *session)
{
	int err;

	lockdep_assert_held(&counter_lock);

	if (!counter) {
		pr_err_ratelimited("nothing counts: load iotracehooking first\n");
		return -ENODEV;
	}
	err = counter->set_features(used_features() | needed_features(session));
	if (err)
		return err;

	raw_spin_lock(&table_lock);
	if (is_traced(session->process))
		err = -EBUSY;
	else
		session_add_locked(session);
	raw_spin_unlock(&table_lock);
	if (err)
		counter->set_features(used_features());
	return err;
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
		end_by_pid(process);
}

/**
 * session_start() - start to trace a process
 * @nr: its pid, or that of one of its threads, in the caller's pid namespace; 0 for the caller
 * @flags: OS_FTRACE_WIDE and its like, besides those of the module's parameters
 *
 * Return: 0, -ESRCH if there is no such process, -EPERM if the caller may not trace it, -EBUSY
 * if it is traced already, -ENODEV if no counter is loaded, -EOPNOTSUPP for flags on a kernel with
 * PREEMPT_RT, -ENOMEM
 */
long session_start(pid_t nr, unsigned int flags)
{
	struct session *session;
	struct pid *process;
	long err;

	flags |= options_default_flags();
	/* They need memory where such a kernel can't give any: in a probe. */
	if (flags && IS_ENABLED(CONFIG_PREEMPT_RT))
		return -EOPNOTSUPP;

	process = find_process(nr);
	if (IS_ERR(process)) {
		err = PTR_ERR(process);
		if (err == -ESRCH)
			lines_print_unknown(nr);
		return err;
	}

	err = -ENOMEM;
	session = session_alloc(process, process, flags, GFP_KERNEL_ACCOUNT);
	if (session) {
		mutex_lock(&counter_lock);
		err = session_start_locked(session);
		mutex_unlock(&counter_lock);
		if (err)
			session_free(session);
		else
			end_if_exited(process);
		print_queued();
	}
	put_pid(process);
	return err;
}

/**
 * session_stop() - end the trace of a process
 * @nr: as for session_start()
 * @flags: OS_FTRACE_FOLLOW to end the traces of all that were followed from it, too
 *
 * On return the lines are printed.
 *
 * Return: 0, -ESRCH if there is no such process or it is not traced, -EPERM if the caller may not
 * trace it
 */
long session_stop(pid_t nr, unsigned int flags)
{
	struct pid *process = find_process(nr);
	bool ended;

	if (IS_ERR(process))
		return PTR_ERR(process);

	ended = end_by_pid(process);
	if (flags & OS_FTRACE_FOLLOW)
		while (end_one(process))
			ended = true;
	print_queued();
	put_pid(process);
	return ended ? 0 : -ESRCH;
}

/**
 * ftracehooking_register_counter() - let sessions begin
 * @ops: how to count
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

/**
 * ftracehooking_unregister_counter() - end every session and stop to count
 *
 * On return none of the counter's code runs or will run.
 */
void ftracehooking_unregister_counter(void)
{
	mutex_lock(&counter_lock);
	while (end_one(NULL))
		cond_resched();
	counter->set_features(0);
	counter = NULL;
	mutex_unlock(&counter_lock);
	print_queued();
}
EXPORT_SYMBOL_GPL(ftracehooking_unregister_counter);

/**
 * session_exit() - wait for what sessions left behind
 *
 * Called when no session can begin and every one has ended.
 */
void session_exit(void)
{
	cancel_work_sync(&rest_work);
	flush_work(&print_work);
	rcu_barrier();
}
