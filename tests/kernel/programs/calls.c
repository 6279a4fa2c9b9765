// SPDX-License-Identifier: GPL-2.0
/*
 * Make exactly the system calls that the arguments name, then print the result of each.
 *
 * Every result is one line, "VERB RESULT", RESULT a number or the name of an error. Nothing is
 * printed, and no other traced call made, before the last argument is done. Verbs that make a
 * call several times give the result of the last.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_OS_FTRACE 336
#define PAGE 4096
#define BUFFER 65536

static char buffer[BUFFER];
static long fd = -1;

static long result(long value)
{
	return value < 0 ? -errno : value;
}

static long os_ftrace(const char *pid)
{
	return result(syscall(NR_OS_FTRACE, pid ? atoi(pid) : getpid()));
}

/* Trace a child that has exited and is not waited for. */
static long start_zombie(void)
{
	siginfo_t exited;
	pid_t child = fork();

	if (!child)
		_exit(0);
	waitid(P_PID, child, &exited, WEXITED | WNOWAIT);
	return result(syscall(NR_OS_FTRACE, child));
}

static long end(void)
{
	return result(syscall(NR_OS_FTRACE, 0));
}

static long open_name(const char *name, int flags)
{
	long opened = result(syscall(SYS_openat, AT_FDCWD, name, flags, 0));

	if (opened >= 0)
		fd = opened;
	return opened;
}

/* Open a name whose NUL is the last byte before memory that is not there. */
static long open_at_edge(const char *name)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *edge = pages + PAGE - strlen(name) - 1;

	munmap(pages + PAGE, PAGE);
	strcpy(edge, name);
	return open_name(edge, O_RDWR);
}

static void *open_fifo(void *name)
{
	return (void *)open_name(name, O_RDONLY);
}

/* Open a FIFO, and take the memory that its name is in away while the call waits for a writer. */
static long open_and_vanish(const char *name)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t opener;
	void *opened;

	strcpy(page, name);
	pthread_create(&opener, NULL, open_fifo, page);
	usleep(300000);
	munmap(page, PAGE);
	/* The old open() is not one of the traced calls. */
	syscall(SYS_open, name, O_WRONLY);
	pthread_join(opener, &opened);
	return (long)opened;
}

static long repeat(long nr, long count, long third)
{
	long done = 0;

	while (count--)
		done = result(syscall(nr, fd, nr == SYS_lseek ? 0 : (long)buffer, third));
	return done;
}

static long thread_reads;

static void *read_often(void *unused)
{
	repeat(SYS_read, thread_reads, 1);
	return unused;
}

static long read_in_threads(long threads, long reads)
{
	pthread_t thread[threads];

	thread_reads = reads;
	for (long i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, read_often, NULL);
	for (long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	return threads;
}

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static long start_threads(long threads)
{
	pthread_t thread;

	for (long i = 0; i < threads; i++)
		pthread_create(&thread, NULL, sleep_for_ever, NULL);
	return threads;
}

static long change_user(long id)
{
	long done = setresgid(id, id, id);

	return result(done ? done : setresuid(id, id, id));
}

/* What the kernel itself has counted: reads * 1000000 + writes. */
static long account(void)
{
	long reads = 0, writes = 0;
	long file = syscall(SYS_open, "/proc/self/io", O_RDONLY);
	char text[512] = "";

	syscall(SYS_pread64, file, text, sizeof(text) - 1, 0);
	if (sscanf(strstr(text, "syscr"), "syscr: %ld syscw: %ld", &reads, &writes) != 2)
		return -EINVAL;
	return reads * 1000000 + writes;
}

/* Make the calls that only count with wide=1: 3 opens, 19 bytes in 3 reads, 41 in 3 writes. */
static long work_wide(const char *name)
{
	struct iovec in[] = { { buffer, 3 }, { buffer + 3, 4 } }, five = { buffer, 5 };
	struct iovec out[] = { { buffer, 6 }, { buffer + 6, 7 } }, seventeen = { buffer, 17 };
	struct open_how how = { .flags = O_RDWR };

	fd = syscall(SYS_open, name, O_RDWR);
	syscall(SYS_pread64, fd, buffer, 7, 0);
	syscall(SYS_readv, fd, in, 2);
	syscall(SYS_preadv, fd, &five, 1, 0, 0);
	syscall(SYS_pwrite64, fd, buffer, 11, 0);
	syscall(SYS_writev, fd, out, 2);
	syscall(SYS_pwritev, fd, &seventeen, 1, 0, 0);
	syscall(SYS_close, fd);
	syscall(SYS_close, syscall(SYS_creat, "created", 0600));
	return result(syscall(SYS_close, syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof(how))));
}

/* The gate of 32-bit programs; it takes 32-bit addresses. */
static long int80(long nr, long first, long second, long third, long fourth, long fifth)
{
	long done;

	asm volatile("int $0x80"
		     : "=a"(done)
		     : "a"(nr), "b"(first), "c"(second), "d"(third), "S"(fourth), "D"(fifth)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)done;
}

/* Open a file as a 32-bit program, and 2 reads, 3 writes, 2 lseeks of both kinds and a close. */
static long work_ia32(const char *name)
{
	char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long file;

	strcpy(low, name);
	file = int80(295, AT_FDCWD, (long)low, O_RDWR, 0, 0);
	for (int i = 0; i < 2; i++)
		int80(3, file, (long)low, 7, 0, 0);
	for (int i = 0; i < 3; i++)
		int80(4, file, (long)low, 11, 0, 0);
	int80(19, file, 0, SEEK_SET, 0, 0);
	int80(140, file, 0, 0, (long)low, SEEK_SET);
	return int80(6, file, 0, 0, 0, 0);
}

static long do_verb(const char *verb, const char *text)
{
	char *rest = NULL;
	long first = text ? strtol(text, &rest, 10) : 0;
	long second = rest && *rest ? atol(rest + 1) : 0;

	if (!strcmp(verb, "start"))
		return os_ftrace(text);
	if (!strcmp(verb, "start-zombie"))
		return start_zombie();
	if (!strcmp(verb, "end"))
		return end();
	if (!strcmp(verb, "number"))
		return result(syscall(first, getpid()));
	if (!strcmp(verb, "open"))
		return open_name(text, O_RDWR);
	if (!strcmp(verb, "open-edge"))
		return open_at_edge(text);
	if (!strcmp(verb, "open-nowhere"))
		return open_name((const char *)8, O_RDWR);
	if (!strcmp(verb, "open-vanish"))
		return open_and_vanish(text);
	if (!strcmp(verb, "use"))
		return fd = first;
	if (!strcmp(verb, "read"))
		return repeat(SYS_read, first, second);
	if (!strcmp(verb, "write"))
		return repeat(SYS_write, first, second);
	if (!strcmp(verb, "lseek"))
		return repeat(SYS_lseek, first, SEEK_SET);
	if (!strcmp(verb, "close"))
		return result(syscall(SYS_close, fd));
	if (!strcmp(verb, "threads"))
		return read_in_threads(first, second);
	if (!strcmp(verb, "threads-start"))
		return start_threads(first);
	if (!strcmp(verb, "wide"))
		return work_wide(text);
	if (!strcmp(verb, "ia32"))
		return work_ia32(text);
	if (!strcmp(verb, "ia32-call"))
		return int80(NR_OS_FTRACE, getpid(), 0, 0, 0, 0);
	if (!strcmp(verb, "user"))
		return change_user(first);
	if (!strcmp(verb, "name"))
		return result(prctl(PR_SET_NAME, text));
	if (!strcmp(verb, "io"))
		return account();
	if (!strcmp(verb, "stop"))
		return raise(SIGSTOP);
	if (!strcmp(verb, "kill"))
		return raise(SIGKILL);
	fprintf(stderr, "no verb %s\n", verb);
	exit(2);
}

int main(int argc, char **argv)
{
	long results[argc];

	for (int i = 1; i < argc; i++) {
		char *colon = strchr(argv[i], ':');

		if (colon)
			*colon = '\0';
		results[i] = do_verb(argv[i], colon ? colon + 1 : NULL);
	}
	for (int i = 1; i < argc; i++) {
		if (results[i] < 0)
			printf("%s %s\n", argv[i], strerrorname_np(-results[i]));
		else
			printf("%s %ld\n", argv[i], results[i]);
	}
	return 0;
}
