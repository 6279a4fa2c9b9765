// SPDX-License-Identifier: GPL-2.0
/*
 * reuse TIMES: so many times let a traced process exit and trace another with the same pid at once.
 *
 * The first makes 3 reads and does not end its trace, the second 5. Prints their pids.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

static void start_and_read(int reads)
{
	int zero = syscall(SYS_open, "/dev/zero", O_RDONLY);
	char byte;

	if (way_start(0, 0))
		abort();
	for (int i = 0; i < reads; i++)
		syscall(SYS_read, zero, &byte, 1);
}

static pid_t run_first(void)
{
	pid_t child = fork();

	if (!child) {
		start_and_read(3);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	return child;
}

/* Tell whether a process with this pid could be had: another program may have got it. */
static int run_second(pid_t pid)
{
	FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
	int status;
	pid_t child;

	if (!last || fprintf(last, "%d", pid - 1) < 0 || fclose(last)) {
		perror("ns_last_pid");
		exit(EXIT_FAILURE);
	}
	child = fork();
	if (!child) {
		if (getpid() != pid)
			_exit(1);
		start_and_read(5);
		_exit(way_end(0, 0) ? 2 : 0);
	}
	waitpid(child, &status, 0);
	if (status && WEXITSTATUS(status) != 1)
		exit(EXIT_FAILURE);
	return !status;
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;

	way_find(false);
	while (times) {
		pid_t pid = run_first();

		if (run_second(pid)) {
			times--;
			printf("%d\n", pid);
			fflush(stdout);
		}
	}
	return EXIT_SUCCESS;
}
