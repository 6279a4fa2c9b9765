// SPDX-License-Identifier: GPL-2.0
/*
 * tempest WORKERS NUMBER [LIVES SEED]: processes that trace themselves, their children and each
 * other in every way, work, fork, execute, and end in every way; LIVES of each worker, or without
 * end.
 *
 * No call's result matters: the modules may come and go meanwhile. `tempest leaf` only works.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "trace_ways.h"

#define EITHER(chances) (rand_r(&seed) % (chances) == 0)

static unsigned int seed;
static long number;

static void *work(void *unused)
{
	int zero = open("/dev/zero", O_RDWR), copy = dup(zero), ends[2];
	char bytes[16] = "";

	for (int i = 0; i < 5; i++) {
		read(zero, bytes, sizeof(bytes));
		pwrite(copy, bytes, sizeof(bytes), 0);
		lseek(zero, 0, SEEK_SET);
	}
	if (!pipe(ends)) {
		write(ends[1], bytes, 1);
		read(ends[0], bytes, 1);
		close(ends[0]);
		close(ends[1]);
	}
	close(copy);
	close(zero);
	return unused;
}

static void start(pid_t pid)
{
	unsigned int flags = rand_r(&seed) & ALL_FLAGS;

	if (EITHER(2))
		ask_call(number, pid ? pid : getpid());
	else
		ask_device(OS_FTRACE_START, pid, flags);
}

static void end(void)
{
	if (EITHER(2))
		ask_call(number, 0);
	else
		ask_device(OS_FTRACE_STOP, 0, EITHER(2) ? OS_FTRACE_FOLLOW : 0);
}

static void run_leaf(void)
{
	pid_t child = vfork();

	if (!child) {
		execl("/proc/self/exe", "tempest", "leaf", NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* Work, and have a child that does, and so on. */
static pid_t found_family(void)
{
	pid_t child = 0;

	for (int generations = 3; generations && !child; generations--) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (EITHER(2))
			start(0);
		work(NULL);
		if (EITHER(2))
			child = fork();
	}
	return child;
}

static void live(void)
{
	pid_t child = found_family();
	pthread_t thread;

	pthread_create(&thread, NULL, work, NULL);
	work(NULL);
	if (EITHER(4))
		run_leaf();
	if (EITHER(2))
		pthread_join(thread, NULL);
	if (child > 0)
		waitpid(child, NULL, 0);
	if (EITHER(4))
		raise(SIGKILL);
	if (EITHER(4))
		execl("/proc/self/exe", "tempest", "leaf", NULL);
	if (EITHER(2))
		end();
	_exit(0);
}

static void run_worker(int lives)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (lives--) {
		pid_t child = fork();

		if (child < 0)
			continue;
		if (!child)
			live();
		rand_r(&seed);
		usleep(rand_r(&seed) & 0xfff);
		if (EITHER(2))
			start(child);
		if (EITHER(4))
			kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "leaf"))
		return !!work(NULL);
	if (argc != 3 && argc != 5)
		return EXIT_FAILURE;
	number = atol(argv[2]);
	for (int i = atoi(argv[1]); i; i--) {
		seed = i + (argc > 3 ? 100 * atoi(argv[4]) : 0);
		if (!fork())
			run_worker(argc > 3 ? atoi(argv[3]) : INT_MAX);
	}
	while (wait(NULL) > 0)
		;
	return EXIT_SUCCESS;
}
