// SPDX-License-Identifier: GPL-2.0
/*
 * family CASE [N]: make children in some way while traced with the option follow.
 *
 * Every process makes reads of one byte, a number that no other does. At the end it is printed, a
 * line a process, what must be seen of it: PID PARENT READS, PARENT 0 for the process that was
 * traced by hand. A process that must not be seen is not printed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

#define MOST 1024

/* Shared by all processes that don't execute something else. */
static struct shared {
	int members;
	struct member {
		pid_t pid;
		pid_t parent;
		int reads;
	} member[MOST];
	int started;
	int arrived;
	int ended;
} *shared;

static int zero;
static int number;

static void read_times(int reads)
{
	char byte;

	for (int i = 0; i < reads; i++)
		if (syscall(SYS_read, zero, &byte, 1) != 1)
			abort();
}

static void expect(pid_t pid, pid_t parent, int reads)
{
	int i = __atomic_fetch_add(&shared->members, 1, __ATOMIC_SEQ_CST);

	shared->member[i] = (struct member){ pid, parent, reads };
}

static void be_child(pid_t parent, int reads)
{
	expect(getpid(), parent, reads);
	read_times(reads);
}

static void wait_for(const int *flag, int value)
{
	while (__atomic_load_n(flag, __ATOMIC_SEQ_CST) < value)
		usleep(1000);
}

static void tell(int *flag)
{
	__atomic_fetch_add(flag, 1, __ATOMIC_SEQ_CST);
}

static void wait_all(void)
{
	while (wait(NULL) > 0)
		;
}

static void one_child(void)
{
	if (!fork()) {
		be_child(getppid(), 11);
		_exit(0);
	}
	wait_all();
}

static void vfork_child(void)
{
	pid_t parent = getpid();
	pid_t child = vfork();

	if (!child) {
		be_child(parent, 12);
		_exit(0);
	}
	wait_all();
}

static char *again[] = { "family", "work", "13", NULL };

static void spawn_child(void)
{
	pid_t child;

	if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, again, environ))
		abort();
	expect(child, getpid(), 13);
	wait_all();
}

static void child_executes(void)
{
	if (!fork()) {
		expect(getpid(), getppid(), 5 + 13);
		read_times(5);
		execv("/proc/self/exe", again);
	}
	wait_all();
}

/* The child of the child is made a child of the first: it was followed from the second. */
static void child_of_the_parent(void)
{
	if (!fork()) {
		pid_t maker = getpid();

		expect(maker, getppid(), 14);
		if (!syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0))
			be_child(maker, 15);
		else
			read_times(14);
		_exit(0);
	}
	wait_all();
}

static void *fork_in_thread(void *unused)
{
	one_child();
	return unused;
}

static void *read_in_thread(void *unused)
{
	read_times(16);
	return unused;
}

static void in_thread(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

static void child_of_a_thread(void)
{
	in_thread(fork_in_thread);
}

/* They count for the first process: main() reads 7 times itself. */
static void threads_only(void)
{
	in_thread(read_in_thread);
	in_thread(read_in_thread);
	shared->member[0].reads += 32;
}

static void generations(void)
{
	for (int reads = 17; reads < 21; reads++) {
		pid_t parent = getpid();

		if (fork()) {
			wait_all();
			break;
		}
		be_child(parent, reads);
	}
	if (getpid() != shared->member[0].pid)
		_exit(0);
}

static void many_children(void)
{
	for (int i = 0; i < number; i++) {
		if (!fork()) {
			be_child(shared->member[0].pid, 30 + i);
			tell(&shared->arrived);
			wait_for(&shared->arrived, number);
			_exit(0);
		}
	}
	wait_all();
}

/* A child of a process that isn't traced isn't either. */
static void childs_trace_has_ended(void)
{
	if (!fork()) {
		be_child(getppid(), 22);
		if (way_end(0, 0))
			abort();
		if (!fork()) {
			read_times(23);
			_exit(0);
		}
		wait_all();
		_exit(0);
	}
	wait_all();
}

static void parent_ends_first(void)
{
	if (!fork()) {
		expect(getpid(), getppid(), 24 + 25);
		read_times(24);
		tell(&shared->arrived);
		wait_for(&shared->ended, 1);
		read_times(25);
		_exit(0);
	}
	wait_for(&shared->arrived, 1);
}

static void read_more_when_ended(void)
{
	tell(&shared->arrived);
	wait_for(&shared->ended, 1);
	read_times(100);
	_exit(0);
}

/* A child, and two of its own, one of which is gone already: all the others end at once. */
static void all_end(void)
{
	if (!fork()) {
		be_child(getppid(), 26);
		if (!fork()) {
			be_child(getppid(), 28);
			_exit(0);
		}
		wait_all();
		if (!fork()) {
			be_child(getppid(), 27);
			read_more_when_ended();
		}
		read_more_when_ended();
	}
	wait_for(&shared->arrived, 2);
}

static void *execute_in_thread(void *unused)
{
	execv("/proc/self/exe", again);
	return unused;
}

/* The thread that executes becomes the process' only one. */
static void thread_executes(void)
{
	printf("%d 0 %d\n", getpid(), 7 + 13);
	fflush(stdout);
	if (way_start(0, OS_FTRACE_FOLLOW | OS_FTRACE_WIDE))
		abort();
	read_times(7);
	in_thread(execute_in_thread);
}

static const struct way_to_have_children {
	const char *name;
	void (*have)(void);
	unsigned int end;
} ways[] = {
	{ "fork", one_child, 0 },
	{ "vfork", vfork_child, 0 },
	{ "spawn", spawn_child, 0 },
	{ "execute", child_executes, 0 },
	{ "clone-parent", child_of_the_parent, 0 },
	{ "thread", child_of_a_thread, 0 },
	{ "threads-only", threads_only, 0 },
	{ "generations", generations, 0 },
	{ "many", many_children, 0 },
	{ "childs-trace-has-ended", childs_trace_has_ended, 0 },
	{ "parent-ends-first", parent_ends_first, 0 },
	{ "all-end", all_end, OS_FTRACE_FOLLOW },
};

static void have_children(const struct way_to_have_children *way)
{
	/* A child from before the trace is not traced. */
	if (!fork()) {
		wait_for(&shared->started, 1);
		read_times(1000);
		_exit(0);
	}
	expect(getpid(), 0, 7);
	if (way_start(0, OS_FTRACE_FOLLOW | OS_FTRACE_WIDE))
		abort();
	tell(&shared->started);
	read_times(7);
	way->have();
	if (way_end(0, way->end))
		abort();
	tell(&shared->ended);
	wait_all();
	for (int i = 0; i < shared->members; i++)
		printf("%d %d %d\n", shared->member[i].pid, shared->member[i].parent,
		       shared->member[i].reads);
}

int main(int argc, char **argv)
{
	zero = open("/dev/zero", O_RDONLY);
	number = argc > 2 ? atoi(argv[2]) : 0;
	if (!strcmp(argv[1], "work")) {
		read_times(number);
		return EXIT_SUCCESS;
	}
	way_find(true);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (!strcmp(argv[1], "thread-executes"))
		thread_executes();
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(argv[1], ways[i].name))
			have_children(&ways[i]);
	return EXIT_SUCCESS;
}
