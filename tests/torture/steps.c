// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded, counts the steps in which a process changes what lies below a folder, and at a chosen
 * one kills it, or lets this one and all that follow fail as on a full disk.
 *
 * A write is two steps: of the second one half is written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum how { COUNT, KILL, FAIL };

static char below[4096];
static atomic_long taken;
static long chosen;
static enum how how;

void steps_begin(const char *folder, long at, int what)
{
	snprintf(below, sizeof(below), "%s/", folder);
	atomic_store(&taken, 0);
	chosen = at;
	how = what;
}

long steps_end(void)
{
	below[0] = '\0';
	return atomic_load(&taken);
}

/* Whether the step must fail; does not return if the process must die. */
static bool step(void)
{
	long number = atomic_fetch_add(&taken, 1) + 1;

	if (how == KILL && number == chosen)
		kill(getpid(), SIGKILL);
	if (how != FAIL || number < chosen)
		return false;
	errno = ENOSPC;
	return true;
}

static bool is_below(const char *path)
{
	return below[0] && !strncmp(path, below, strlen(below));
}

static bool is_of_file_below(int fd)
{
	char link[32], path[4096];
	ssize_t length;

	if (!below[0])
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return false;
	path[length] = '\0';
	return is_below(path);
}

#define NEXT(name) ((typeof(&(name)))dlsym(RTLD_NEXT, #name))

#define CHANGES(result, name, parameters, arguments, path)	\
	result name parameters					\
	{							\
		if (is_below(path) && step())			\
			return -1;				\
		return NEXT(name) arguments;			\
	}

CHANGES(int, mkdir, (const char *path, mode_t mode), (path, mode), path)
CHANGES(int, unlink, (const char *path), (path), path)
CHANGES(int, rmdir, (const char *path), (path), path)
CHANGES(int, rename, (const char *from, const char *to), (from, to), to)
CHANGES(int, link, (const char *from, const char *to), (from, to), to)
CHANGES(int, linkat, (int at, const char *from, int place, const char *to, int flags),
	(at, from, place, to, flags), to)
CHANGES(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), path)

#define OPENS(name)						\
	int name(const char *path, int flags, ...)		\
	{							\
		mode_t mode = 0;				\
		va_list more;					\
								\
		va_start(more, flags);				\
		if (flags & O_CREAT)				\
			mode = va_arg(more, mode_t);		\
		va_end(more);					\
		if (flags & (O_CREAT | O_TRUNC) && is_below(path) && step())	\
			return -1;				\
		return NEXT(name)(path, flags, mode);		\
	}

OPENS(open)
OPENS(open64)

ssize_t write(int fd, const void *data, size_t size)
{
	if (is_of_file_below(fd)) {
		if (step())
			return -1;
		if (how == KILL && atomic_load(&taken) + 1 == chosen)
			NEXT(write)(fd, data, size / 2);
		if (step())
			return size < 2 ? -1 : NEXT(write)(fd, data, size / 2);
	}
	return NEXT(write)(fd, data, size);
}
