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
 *
 * What anybody may make this hold in memory is bounded: the number of sessions, of those too that
 * wait to be printed, and the number of files of all of them.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/mutex.h>
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

static atomic_t session_count = ATOMIC_INIT(0);

static struct workqueue_struct *workers;

static void session_free(struct session *session)
{
	session_files_free(session);
	put_pid(session->process);
	put_pid(session->family);
	if (session->starter)
		put_cred(session->starter);
	kfree(session->wide);
	kfree(session);
	atomic_dec(&session_count);
}

static void session_free_rcu(struct rcu_head *rcu)
{
	session_free(container_of(rcu, struct session, rcu));
}

static struct session *session_alloc_counted(struct pid *process, unsigned int flags, gfp_t gfp)
{
	struct wide_counts *wide = NULL;
	struct session *session;

	session = kzalloc(struct_size(session, lab, nr_cpu_ids), gfp);
	if (!session)
		return NULL;
	if (flags & OS_FTRACE_WIDE) {
		wide = kzalloc(sizeof(*wide), gfp);
		if (!wide) {
			kfree(session);
			return NULL;
		}
	}

	session->begins.session = session;
	session->ends.session = session;
	session->process = get_pid(process);
	session->flags = flags;
	session->wide = wide;
	raw_spin_lock_init(&session->name_lock);
	raw_spin_lock_init(&session->threads.lock);
	session_files_init(session);
	return session;
}

/* Return the session, -EAGAIN if there are too many, or -ENOMEM. */
static struct session *session_alloc(struct pid *process, unsigned int flags, gfp_t gfp)
{
	struct session *session;

	if (atomic_inc_return(&session_count) > options_max_traces()) {
		atomic_dec(&session_count);
		return ERR_PTR(-EAGAIN);
	}
	session = session_alloc_counted(process, flags, gfp);
	if (session)
		return session;
	atomic_dec(&session_count);
	return ERR_PTR(-ENOMEM);
}

static void print_event(struct session_event *event)
{
	struct session *session = event->session;

	if (event == &session->begins) {
		lines_print_start(session);
	} else {
		lines_print_end(session);
		call_rcu(&session->rcu, session_free_rcu);
	}
}

/*
 * When it returns, everything that had been queued when it was called is printed; not what others
 * queue meanwhile, so that nobody prints for ever.
 */
static void print_queued(void)
{
	struct session_event *event, *next;
	LIST_HEAD(events);

	mutex_lock(&print_lock);
	raw_spin_lock(&table_lock);
	list_splice_init(&unprinted, &events);
	raw_spin_unlock(&table_lock);
	list_for_each_entry_safe(event, next, &events, node) {
		print_event(event);
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

/*
 * Stop to see what no session needs any more, from where sleeping is allowed; a moment later, as
 * to begin again costs every processor time.
 */
static void rest_counter(struct work_struct *work)
{
	mutex_lock(&counter_lock);
	if (counter)
		counter->set_features(used_features());
	mutex_unlock(&counter_lock);
}

#define REST_DELAY (HZ / 10)
static DECLARE_DELAYED_WORK(rest_work, rest_counter);

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

	hlist_del_rcu(&session->node);
	WRITE_ONCE(*mark_of(session), *mark_of(session) - 1);
	for (i = 0; i < FEATURES; i++) {
		if (!(features & BIT(i)))
			continue;
		if (!--users[i])
			queue_delayed_work(workers, &rest_work, REST_DELAY);
	}
}

/* Whoever gets true must call session_end(). The session stays until then. */
static bool session_claim_locked(struct session *session)
{
	lockdep_assert_held(&table_lock);

	if (session->ending)
		return false;
	session->ending = true;
	return true;
}

static bool session_claim(struct session *session)
{
	bool claimed;

	raw_spin_lock(&table_lock);
	claimed = session_claim_locked(session);
	raw_spin_unlock(&table_lock);
	return claimed;
}

/*
 * Note what is only known now, take the session out of the table and queue its lines, before those
 * of the process' next session can be.
 */
static void session_end(struct session *session)
{
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(session->process, PIDTYPE_TGID);
	strscpy(session->comm, task ? task->comm : "?", sizeof(session->comm));
	if (task)
		session_files_end(session, task);
	rcu_read_unlock();

	raw_spin_lock(&table_lock);
	session_remove_locked(session);
	list_add_tail(&session->ends.node, &unprinted);
	raw_spin_unlock(&table_lock);
}

/**
 * ftracehooking_ends() - end the session of a process, if it has one
 * @task: a thread of it, running
 *
 * Callable with preemption disabled; the lines are printed soon.
 */
void ftracehooking_ends(struct task_struct *task)
{
	struct session *session;
	bool claimed;

	rcu_read_lock();
	session = session_find(task);
	claimed = session && session_claim(session);
	rcu_read_unlock();
	if (!claimed)
		return;
	session_end(session);
	queue_work(workers, &print_work);
}
EXPORT_SYMBOL_GPL(ftracehooking_ends);

/* The rule of ptrace: the same user, and no more capabilities. */
static bool covers(const struct cred *own, const struct cred *other)
{
	return uid_eq(own->uid, other->uid) && uid_eq(own->uid, other->euid) &&
	       uid_eq(own->uid, other->suid) && gid_eq(own->gid, other->gid) &&
	       gid_eq(own->gid, other->egid) && gid_eq(own->gid, other->sgid) &&
	       (own->user_ns != other->user_ns ||
		cap_issubset(other->cap_permitted, own->cap_permitted));
}

/**
 * ftracehooking_executes() - end the session of a process that has got more rights
 * @session: the session of the current process, which has just executed a program
 *
 * A program that runs with other rights than who started the trace, as su does, must not be
 * watched by him.
 */
void ftracehooking_executes(struct session *session)
{
	if (session->starter && !covers(session->starter, current_cred()))
		ftracehooking_ends(current);
}
EXPORT_SYMBOL_GPL(ftracehooking_executes);

static bool session_add_followed(struct session *session, struct session *parent)
{
	bool added;

	raw_spin_lock(&table_lock);
	/* Until the parent's session ends the counter sees what this one needs. */
	added = !parent->ending;
	if (added)
		session_add_locked(session);
	raw_spin_unlock(&table_lock);
	return added;
}

static void follow(struct session *parent, struct task_struct *child)
{
	struct session *session;

	session = session_alloc(task_tgid(child), parent->flags,
				GFP_ATOMIC | __GFP_ACCOUNT | __GFP_NOWARN);
	if (IS_ERR(session)) {
		atomic64_inc(&parent->lost_children);
		return;
	}
	session->family = get_pid(parent->family);
	session->starter = parent->starter ? get_cred(parent->starter) : NULL;
	session->parent = pid_nr(parent->process);
	if (session_add_followed(session, parent))
		queue_work(workers, &print_work);
	else
		session_free(session);
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
	struct session *session;

	if (same_thread_group(parent, child))
		return;

	rcu_read_lock();
	session = session_find(parent);
	if (session && session->flags & OS_FTRACE_FOLLOW)
		follow(session, child);
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(ftracehooking_forks);

static bool has_exited(struct task_struct *task)
{
	return !atomic_read(&task->signal->live);
}

static bool may_trace(struct task_struct *task)
{
	const struct cred *other = __task_cred(task);

	return same_thread_group(task, current) || covers(current_cred(), other) ||
	       ns_capable(other->user_ns, CAP_SYS_PTRACE);
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
	bool claimed;

	rcu_read_lock();
	session = find_by_pid(process);
	claimed = session && session_claim(session);
	rcu_read_unlock();
	if (claimed)
		session_end(session);
	return claimed;
}

/*
 * Claim any session, of the family if that is not NULL. As the whole table is looked through at
 * once, no process can slip away from it by forking.
 */
static struct session *claim_any(struct pid *family)
{
	struct session *session;
	int i;

	raw_spin_lock(&table_lock);
	for (i = 0; i < SESSION_BUCKETS; i++)
		hlist_for_each_entry(session, &ftracehooking_sessions[i], node)
			if ((!family || session->family == family) && session_claim_locked(session))
				goto claimed;
	session = NULL;
claimed:
	raw_spin_unlock(&table_lock);
	return session;
}

static bool end_all(struct pid *family)
{
	struct session *session;
	bool ended = false;

	while ((session = claim_any(family))) {
		session_end(session);
		ended = true;
		cond_resched();
	}
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

static bool capable_of_all(void)
{
	return ns_capable_noaudit(&init_user_ns, CAP_SYS_PTRACE);
}

/**
 * session_start() - start to trace a process
 * @nr: its pid, or that of one of its threads, in the caller's pid namespace; 0 for the caller
 * @flags: OS_FTRACE_WIDE and its like, besides those of the module's parameters
 *
 * Return: 0, -ESRCH if there is no such process, -EPERM if the caller may not trace it, -EBUSY
 * if it is traced already, -ENODEV if no counter is loaded, -EOPNOTSUPP for flags on a kernel with
 * PREEMPT_RT, -EAGAIN if there are as many traces as may be, -ENOMEM
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
		if (err == -ESRCH) {
			/* Not between the lines of a session. */
			mutex_lock(&print_lock);
			lines_print_unknown(nr);
			mutex_unlock(&print_lock);
		}
		return err;
	}

	session = session_alloc(process, flags, GFP_KERNEL_ACCOUNT);
	err = PTR_ERR_OR_ZERO(session);
	if (!err) {
		session->family = get_pid(process);
		session->starter = capable_of_all() ? NULL : get_current_cred();
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
		ended |= end_all(process);
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
	end_all(NULL);
	/* Others may be about to end theirs. */
	while (used_features())
		schedule_timeout_uninterruptible(1);
	counter->set_features(0);
	counter = NULL;
	mutex_unlock(&counter_lock);
	print_queued();
}
EXPORT_SYMBOL_GPL(ftracehooking_unregister_counter);

/**
 * session_init() - get ready for sessions
 *
 * Return: 0 or -ENOMEM
 */
int session_init(void)
{
	workers = alloc_workqueue("os_ftrace", WQ_UNBOUND, 0);
	return workers ? 0 : -ENOMEM;
}

/**
 * session_exit() - wait for what sessions left behind
 *
 * Called when no session can begin and every one has ended.
 */
void session_exit(void)
{
	cancel_delayed_work_sync(&rest_work);
	destroy_workqueue(workers);
	rcu_barrier();
}
