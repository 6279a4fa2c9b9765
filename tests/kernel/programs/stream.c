// SPDX-License-Identifier: GPL-2.0
/*
 * stream FIRST COUNT: be traced this many times, as fast as can be, and write FIRST bytes the first
 * time, one more the next time, and so on: so the lines of each run tell which one it is.
 *
 * Prints the process id.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "way.h"

static char bytes[1 << 24];

int main(int argc, char **argv)
{
	long first, count;
	int null;

	if (argc != 3)
		errx(EXIT_FAILURE, "stream FIRST COUNT");
	first = atol(argv[1]);
	count = atol(argv[2]);
	if (first + count > (long)sizeof(bytes))
		errx(EXIT_FAILURE, "the numbers are too large");
	null = open("/dev/null", O_WRONLY);
	way_find(false);
	for (long number = first; number < first + count; number++) {
		/* Traces that have ended count until the kernel has freed them. */
		while (way_start(0, 0)) {
			if (errno != EAGAIN)
				err(EXIT_FAILURE, "start");
			usleep(1000);
		}
		syscall(SYS_write, null, bytes, number);
		if (way_end(0, 0))
			err(EXIT_FAILURE, "end");
	}
	printf("%d\n", getpid());
	return EXIT_SUCCESS;
}
