// SPDX-License-Identifier: GPL-2.0
/*
 * interrupted COUNT FLAGS: calls that signals interrupt, while other threads make calls, all traced.
 *
 * Half of the threads sleep in a read of an empty pipe or in the open of a FIFO that nobody writes.
 * A timer's handler ends these calls again and again, COUNT times in all. The other half reads
 * and opens /dev/zero all the while. The timer's interrupts come while the threads are in the
 * modules' code, too. Prints how many calls failed with EINTR: reads, then opens.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "way.h"

#define PAIRS 2
#define FIFO "/tmp/nobody-writes"

static const struct itimerval often = { { 0, 500 }, { 0, 500 } }, never;
static atomic_int left, reads, opens;
static int empty[2];

static void on_alarm(int number)
{
	(void)number;
}

static void *sleep_in_calls(void *reader)
{
	char byte;

	while (atomic_fetch_sub(&left, 1) > 0) {
		long done = reader ? syscall(SYS_read, empty[0], &byte, 1) :
				     syscall(SYS_openat, AT_FDCWD, FIFO, O_RDONLY);

		if (done != -1 || errno != EINTR)
			errx(EXIT_FAILURE, "a call that should be interrupted gave %ld", done);
		atomic_fetch_add(reader ? &reads : &opens, 1);
	}
	return NULL;
}

static void leave_alarms_to_others(void)
{
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
}

static void *work(void *unused)
{
	char byte;

	leave_alarms_to_others();
	while (atomic_load(&left) > 0) {
		int zero = syscall(SYS_openat, AT_FDCWD, "/dev/zero", O_RDONLY);

		for (int i = 0; i < 10; i++)
			syscall(SYS_read, zero, &byte, 1);
		syscall(SYS_close, zero);
	}
	return unused;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_alarm };
	pthread_t thread[2 * PAIRS];

	if (argc != 3)
		return EXIT_FAILURE;
	left = atoi(argv[1]);
	way_find(true);
	unlink(FIFO);
	if (pipe(empty) || mkfifo(FIFO, 0600) || sigaction(SIGALRM, &action, NULL))
		err(EXIT_FAILURE, "can't prepare");
	if (way_start(0, atoi(argv[2])))
		err(EXIT_FAILURE, "can't start the trace");

	for (long i = 0; i < PAIRS; i++) {
		pthread_create(&thread[i], NULL, sleep_in_calls, (void *)(i % 2));
		pthread_create(&thread[PAIRS + i], NULL, work, NULL);
	}
	leave_alarms_to_others();
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 2 * PAIRS; i++)
		pthread_join(thread[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);

	if (way_end(0, 0))
		err(EXIT_FAILURE, "can't end the trace");
	printf("%d %d\n", reads, opens);
	return EXIT_SUCCESS;
}
