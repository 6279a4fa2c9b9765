// SPDX-License-Identifier: GPL-2.0
/*
 * crowd [N]: trace several processes at once (8), each with counts of its own, and print what each
 * must show.
 *
 * Child i opens /dev/zero and /dev/null and closes both, and makes reads of i + 1 bytes, writes of
 * i + 2 and lseeks, of each a number that no other child makes. All are traced before the first
 * works, and work until the last has done.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

#define FEWEST 50

static void work(int i, int crowd, pthread_barrier_t *gate)
{
	const int reads = FEWEST + i, writes = reads + crowd, seeks = writes + crowd;
	int zero, null, failed;
	char bytes[crowd + 2];

	failed = way_start(0, 0);
	pthread_barrier_wait(gate);
	zero = syscall(SYS_openat, AT_FDCWD, "/dev/zero", O_RDONLY);
	null = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY);
	for (int n = 0; n < seeks; n++) {
		if (n < reads)
			syscall(SYS_read, zero, bytes, i + 1);
		if (n < writes)
			syscall(SYS_write, null, bytes, i + 2);
		syscall(SYS_lseek, zero, 0, SEEK_SET);
	}
	syscall(SYS_close, zero);
	syscall(SYS_close, null);
	pthread_barrier_wait(gate);
	failed |= way_end(0, 0);

	dprintf(STDOUT_FILENO,
		"%d read - %d / written - %d open[2] close[2] read[%d] write[%d] lseek[%d]\n",
		getpid(), reads * (i + 1), writes * (i + 2), reads, writes, seeks);
	_exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
	int crowd = argc > 1 ? atoi(argv[1]) : 8;
	pthread_barrier_t *gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;
	int status, failed = 0;

	way_find(false);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(gate, &shared, crowd);
	for (int i = 0; i < crowd; i++)
		if (!fork())
			work(i, crowd, gate);
	while (wait(&status) > 0)
		failed |= status;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
