/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A session: the trace of one process, from its Start line to its End line.
 *
 * ftracehooking owns the sessions. iotracehooking, the counter, fills them.
 */
#ifndef SESSION_H
#define SESSION_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/pid.h>
#include <linux/rculist.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "calls.h"
#include "compat.h"
#include "os_ftrace.h"

/* A name is printed with at most this many bytes, counted when escaped. */
#define NAME_PRINTED 600
/* No need to keep more: one byte above the limit says that the name is cut. */
#define NAME_KEPT (NAME_PRINTED + 1)

/* A power of two, so that a processor's counts are found by a shift, and share no cache line. */
#define LAB_SLOTS 8

/**
 * struct lab_counts - what one processor counted of the lab's calls, or the sum over all
 * @calls: calls that completed, by enum traced_call
 * @results: sum of the results above 0; of read() and write() these are the bytes
 */
struct lab_counts {
	u64 calls[LAB_SLOTS];
	u64 results[LAB_SLOTS];
};

/**
 * struct call_counts - what was counted of one call of the wide family
 * @calls: calls that completed
 * @errors: those of them that failed
 * @bytes: bytes they moved
 * @ns: time between their entries and exits
 */
struct call_counts {
	atomic64_t calls;
	atomic64_t errors;
	atomic64_t bytes;
	atomic64_t ns;
};

/**
 * struct wide_counts - the calls of the wide family, counted by all processors together
 * @of: by enum traced_call
 */
struct wide_counts {
	struct call_counts of[CALLS];
};

/**
 * struct traced_file - what a process did with one file through one descriptor
 * @node: place among the files of the same bucket of descriptors
 * @order: place among all files of the session, in the order in which they were met
 * @fd: the descriptor
 * @open: at the end of the session: whether the descriptor was still this file
 * @file: the open file that @fd was when last seen, or NULL; never followed, only compared
 * @opens: how often the descriptor was obtained by a traced call
 * @closes: how often it was closed by one
 * @reads: calls that read
 * @writes: calls that wrote
 * @seeks: calls of lseek()
 * @read_bytes: bytes read
 * @written_bytes: bytes written
 * @len: bytes of @path, at most NAME_KEPT
 * @path: the path, any bytes, without NUL
 */
struct traced_file {
	struct hlist_node node;
	struct list_head order;
	int fd;
	bool open;
	const struct file *file;
	u64 opens;
	u64 closes;
	u64 reads;
	u64 writes;
	u64 seeks;
	u64 read_bytes;
	u64 written_bytes;
	size_t len;
	char path[];
};

#define FILE_BUCKETS 32

/**
 * struct session_files - the files of a session
 * @lock: guards everything here, and what the files count
 * @by_fd: struct traced_file by the last bits of their descriptor
 * @in_order: all of them
 * @known: their number
 * @max: how many there may be
 */
struct session_files {
	raw_spinlock_t lock;
	struct hlist_head by_fd[FILE_BUCKETS];
	struct list_head in_order;
	unsigned int known;
	unsigned int max;
};

/**
 * struct thread_call - the call that a thread of a session is in
 * @node: place in the session's table of threads
 * @rcu: frees it
 * @thread: the thread; only compared
 * @traced: which call it is
 * @seen: the thread was seen to enter it and has not completed it
 * @entered_ns: when it began, or began again; 0 where its time so far is counted
 * @files: the files that the call's descriptors were when it began; NULL where it has none
 */
struct thread_call {
	struct hlist_node node;
	struct rcu_head rcu;
	const struct task_struct *thread;
	enum traced_call traced;
	bool seen;
	u64 entered_ns;
	struct traced_file *files[2];
};

#define THREAD_BUCKETS 16

/**
 * struct session_threads - the threads of a session that were seen to enter a call
 * @lock: guards changes
 * @by_task: struct thread_call by the address of the thread
 */
struct session_threads {
	raw_spinlock_t lock;
	struct hlist_head by_task[THREAD_BUCKETS];
};

/**
 * struct session_event - something about a session that is still to be printed
 * @node: place in the queue
 * @session: the session
 */
struct session_event {
	struct list_head node;
	struct session *session;
};

/**
 * struct session - the trace of one process
 *
 * One of its calls may be counted from where a signal is delivered, with interrupts off: the locks
 * of what calls count are taken with interrupts off everywhere.
 *
 * @node: place in the table of sessions
 * @rcu: frees the session when no probe can hold it any more
 * @begins: its Start line
 * @ends: its other lines
 * @process: the process, as its thread group's pid; held, so that it can't be confused
 * @family: the process whose trace was started by hand, from which this one was followed; held
 * @starter: who started the trace by hand, held; NULL for one who may trace everything
 * @parent: pid of the process that this one was followed from; 0 if started by hand
 * @flags: OS_FTRACE_WIDE and its like
 * @ending: somebody is about to take the session out of the table
 * @comm: name of the process' first thread when the session ended
 * @wide: the wide family's calls; NULL unless OS_FTRACE_WIDE
 * @untimed: calls of the wide family whose entry was not seen
 * @lost_files: calls on files for which there was no room
 * @lost_children: children that could not be followed
 * @threads: for OS_FTRACE_WIDE and OS_FTRACE_DETAIL
 * @files: for OS_FTRACE_DETAIL
 * @name_lock: guards @name and @name_len
 * @name_len: bytes of @name in use
 * @name: beginning of the name passed to the last openat(), without NUL; any bytes
 * @lab: the lab's calls, one set a processor; changed with preemption disabled
 */
struct session {
	struct hlist_node node;
	struct rcu_head rcu;
	struct session_event begins;
	struct session_event ends;
	struct pid *process;
	struct pid *family;
	const struct cred *starter;
	pid_t parent;
	unsigned int flags;
	bool ending;
	char comm[TASK_COMM_LEN];
	struct wide_counts *wide;
	atomic64_t untimed;
	atomic64_t lost_files;
	atomic64_t lost_children;
	struct session_threads threads;
	struct session_files files;
	raw_spinlock_t name_lock;
	size_t name_len;
	char name[NAME_KEPT];
	struct lab_counts lab[];
};

/* What the sessions need of the counter, as bits. */
#define FEATURE_COUNT	BIT(0)	/* see calls return, and processes exit */
#define FEATURE_ENTRY	BIT(1)	/* see calls begin too */
#define FEATURE_FOLLOW	BIT(2)	/* see processes begin */
#define FEATURES	3

/**
 * struct counter_ops - how sessions get their counts
 * @set_features: from now on see what these bits say and nothing else; on return no probe runs
 *	that is not wanted. Called with a lock held that sleeps. Returns 0 or an error, after which
 *	what was seen before still is.
 */
struct counter_ops {
	int (*set_features)(unsigned int features);
};

/* For the counter. */
int ftracehooking_register_counter(const struct counter_ops *ops);
void ftracehooking_unregister_counter(void);
void ftracehooking_ends(struct task_struct *task);
void ftracehooking_executes(struct session *session);
void ftracehooking_forks(struct task_struct *parent, struct task_struct *child);

/* How many files all sessions remember together. */
#define FILES_OF_ALL 65536
extern atomic_t ftracehooking_files;

#define SESSION_BUCKETS 256
extern struct hlist_head ftracehooking_sessions[SESSION_BUCKETS];

static inline struct hlist_head *session_bucket(unsigned int tgid)
{
	return &ftracehooking_sessions[tgid % SESSION_BUCKETS];
}

/* How many sessions there are of processes whose pid ends in these bits. */
extern u8 ftracehooking_marks[1 << 16];

/**
 * session_possible() - say whether a task's process may have a session
 * @task: the task
 *
 * Every call of every process pays for it while a session is: as a plain read of one byte it takes
 * four instructions.
 *
 * Return: false if it has none
 */
static __always_inline bool session_possible(const struct task_struct *task)
{
	/* May be wrong for a moment: session_find() decides. */
	return data_race(ftracehooking_marks[(u16)task->tgid]);
}

/**
 * session_find() - look up the session of a task's process
 * @task: the task
 *
 * The caller has preemption disabled or is in an RCU read-side section; the session stays until
 * its end.
 *
 * Return: the session, or NULL
 */
static inline struct session *session_find(struct task_struct *task)
{
	struct pid *process = task_tgid(task);
	struct session *session;

	hlist_for_each_entry_rcu_notrace(session, session_bucket(task->tgid), node)
		if (session->process == process)
			return session;
	return NULL;
}

/* Inside ftracehooking. */
long session_start(pid_t nr, unsigned int flags);
long session_stop(pid_t nr, unsigned int flags);
int session_init(void);
void session_exit(void);

#endif /* SESSION_H */
