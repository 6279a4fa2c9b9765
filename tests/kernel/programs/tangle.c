// SPDX-License-Identifier: GPL-2.0
/*
 * tangle READS DUPLICATES: read from a descriptor that is replaced all the time.
 *
 * Traced with wide and detail, two threads make so many reads each from descriptor 50, which is
 * /dev/zero or /dev/null, as two others make it with as many dup2().
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "way.h"

#define TANGLED 50

static int reads, duplicates;

static void *read_often(void *unused)
{
	char bytes[3];

	for (int i = 0; i < reads; i++)
		if (syscall(SYS_read, TANGLED, bytes, sizeof(bytes)) < 0)
			abort();
	return unused;
}

static void *replace_often(void *file)
{
	for (int i = 0; i < duplicates; i++)
		if (syscall(SYS_dup2, *(int *)file, TANGLED) != TANGLED)
			abort();
	return NULL;
}

int main(int argc, char **argv)
{
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_RDONLY);
	pthread_t threads[4];

	if (argc != 3)
		return EXIT_FAILURE;
	reads = atoi(argv[1]);
	duplicates = atoi(argv[2]);
	way_find(true);
	if (way_start(0, OS_FTRACE_WIDE | OS_FTRACE_DETAIL))
		return EXIT_FAILURE;
	syscall(SYS_dup2, zero, TANGLED);
	pthread_create(&threads[0], NULL, read_often, NULL);
	pthread_create(&threads[1], NULL, read_often, NULL);
	pthread_create(&threads[2], NULL, replace_often, &zero);
	pthread_create(&threads[3], NULL, replace_often, &null);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return way_end(0, 0) ? EXIT_FAILURE : EXIT_SUCCESS;
}
