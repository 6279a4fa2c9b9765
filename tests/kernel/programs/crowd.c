// SPDX-License-Identifier: GPL-2.0
/*
 * Trace several processes at once, each with counts of its own, and print what each must show.
 *
 * Child i opens /dev/zero and /dev/null and closes both, and makes N reads of i + 1 bytes, N writes
 * of i + 2 and N lseeks, N being its own prime for each. All are traced before the first works,
 * and work until the last has done.
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

#define NR_OS_FTRACE 336
#define CROWD 8

static const int primes[] = { 307, 311, 313, 317, 331, 337, 347, 349, 353, 359, 367, 373, 379, 383,
			      389, 397, 401, 409, 419, 421, 431, 433, 439, 443 };

static void work(int i, pthread_barrier_t *gate)
{
	const int reads = primes[i], writes = primes[CROWD + i], seeks = primes[2 * CROWD + i];
	int zero, null, failed;
	char bytes[CROWD + 2];

	failed = syscall(NR_OS_FTRACE, getpid());
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
	failed |= syscall(NR_OS_FTRACE, 0);

	dprintf(STDOUT_FILENO,
		"%d read - %d / written - %d open[2] close[2] read[%d] write[%d] lseek[%d]\n",
		getpid(), reads * (i + 1), writes * (i + 2), reads, writes, seeks);
	_exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

int main(void)
{
	pthread_barrier_t *gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;
	int status, failed = 0;

	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(gate, &shared, CROWD);
	for (int i = 0; i < CROWD; i++)
		if (!fork())
			work(i, gate);
	while (wait(&status) > 0)
		failed |= status;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
