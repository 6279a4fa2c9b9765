// SPDX-License-Identifier: GPL-2.0
/*
 * burst CHILDREN FLAGS: fork this many children as fast as can be while traced, all alive at once.
 *
 * Each reads a byte of /dev/zero, and the end of a pipe when the last has been forked. Prints how
 * many there were.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

static void live(int zero, int *gate)
{
	char byte;

	close(gate[1]);
	syscall(SYS_read, zero, &byte, 1);
	syscall(SYS_read, gate[0], &byte, 1);
	_exit(EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
	int zero = open("/dev/zero", O_RDONLY), status, forked = 0, gate[2];

	if (argc != 3)
		return EXIT_FAILURE;
	way_find(true);
	if (zero < 0 || pipe(gate) || way_start(0, atoi(argv[2])))
		err(EXIT_FAILURE, "can't start");
	for (int i = atoi(argv[1]); i; i--) {
		pid_t child = fork();

		if (!child)
			live(zero, gate);
		forked += child > 0;
	}
	close(gate[1]);
	while (wait(&status) > 0 || errno == EINTR)
		;
	if (way_end(0, OS_FTRACE_FOLLOW))
		err(EXIT_FAILURE, "can't end");
	printf("%d\n", forked);
	return EXIT_SUCCESS;
}
