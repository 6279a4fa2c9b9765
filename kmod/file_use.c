// SPDX-License-Identifier: GPL-2.0
/*
 * What the calls of a session do with files, a descriptor and path at a time.
 *
 * A call belongs to the files that its descriptors were when it began: at its end another thread
 * may have closed them and opened others. Where the beginning was not seen, its end decides.
 */
#include <linux/atomic.h>
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/irqflags.h>
#include <linux/limits.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "count.h"
#include "open_file.h"
#include "session.h"

/* Where a processor's probe puts a path together. */
struct path_buffer {
	char bytes[PATH_MAX];
};

static struct path_buffer __percpu *path_buffers;

/**
 * file_use_init() - get room for paths
 *
 * Return: 0 or -ENOMEM
 */
int file_use_init(void)
{
	path_buffers = alloc_percpu(struct path_buffer);
	return path_buffers ? 0 : -ENOMEM;
}

/**
 * file_use_exit() - give the room back
 */
void file_use_exit(void)
{
	free_percpu(path_buffers);
}

/**
 * path_buffer() - say where this processor puts names together
 *
 * Return: PATH_MAX bytes
 */
char *path_buffer(void)
{
	return this_cpu_ptr(path_buffers)->bytes;
}

/**
 * descriptor_path() - find out an open file's path
 * @fd: a descriptor of the current task
 * @path: set to the path, in the processor's buffer
 * @open: set to the file, only to be compared; NULL if of no interest
 *
 * Return: its length, or a negative error, -EBADF if the descriptor is no file
 */
long descriptor_path(int fd, const char **path, const struct file **open)
{
	struct file *file = fget_raw(fd);

	if (!file)
		return -EBADF;
	*path = d_path(&file->f_path, path_buffer(), PATH_MAX);
	if (open)
		*open = file;
	fput(file);
	return IS_ERR(*path) ? PTR_ERR(*path) : (long)strlen(*path);
}

static struct hlist_head *bucket_of(struct session_files *files, int fd)
{
	return &files->by_fd[(unsigned int)fd % FILE_BUCKETS];
}

static struct traced_file *find_open(struct session_files *files, int fd, const struct file *open)
{
	struct traced_file *file;

	hlist_for_each_entry(file, bucket_of(files, fd), node)
		if (file->fd == fd && file->file == open)
			return file;
	return NULL;
}

static struct traced_file *find_path(struct session_files *files, int fd, const char *path,
				     size_t len)
{
	struct traced_file *file;

	hlist_for_each_entry(file, bucket_of(files, fd), node)
		if (file->fd == fd && file->len == len && !memcmp(file->path, path, len))
			return file;
	return NULL;
}

static struct traced_file *alloc_file(int fd, const char *path, size_t len)
{
	struct traced_file *file;

	if (atomic_inc_return(&ftracehooking_files) > FILES_OF_ALL)
		goto too_many;
	file = kzalloc(sizeof(*file) + len, GFP_ATOMIC | __GFP_ACCOUNT | __GFP_NOWARN);
	if (!file)
		goto too_many;
	file->fd = fd;
	file->len = len;
	memcpy(file->path, path, len);
	return file;

too_many:
	atomic_dec(&ftracehooking_files);
	return NULL;
}

static void drop_file(struct traced_file *file)
{
	if (!file)
		return;
	kfree(file);
	atomic_dec(&ftracehooking_files);
}

static bool add_file(struct session_files *files, struct traced_file *file)
{
	if (files->known == files->max)
		return false;
	hlist_add_head(&file->node, bucket_of(files, file->fd));
	list_add_tail(&file->order, &files->in_order);
	WRITE_ONCE(files->known, files->known + 1);
	return true;
}

/* A new descriptor is a new open file, even at the address of one that was closed unseen. */
static void forget_descriptor(struct session_files *files, int fd)
{
	struct traced_file *file;

	hlist_for_each_entry(file, bucket_of(files, fd), node)
		if (file->fd == fd)
			file->file = NULL;
}

static struct traced_file *find_or_add(struct session_files *files, int fd, const char *path,
				       size_t len, const struct file *open)
{
	struct traced_file *file, *new = NULL;
	unsigned long irq;

	raw_spin_lock_irqsave(&files->lock, irq);
	file = find_path(files, fd, path, len);
	if (file)
		file->file = open;
	raw_spin_unlock_irqrestore(&files->lock, irq);
	if (file || READ_ONCE(files->known) == files->max)
		return file;

	new = alloc_file(fd, path, len);
	if (!new)
		return NULL;
	raw_spin_lock_irqsave(&files->lock, irq);
	file = find_path(files, fd, path, len);
	if (!file && add_file(files, new)) {
		file = new;
		new = NULL;
	}
	if (file)
		file->file = open;
	raw_spin_unlock_irqrestore(&files->lock, irq);
	drop_file(new);
	return file;
}

/* The file that a descriptor is now, by its path. NULL if it is none or there is no room. */
static struct traced_file *resolve(struct session *session, int fd)
{
	struct traced_file *file = NULL;
	const struct file *open;
	const char *path;
	long len;

	len = descriptor_path(fd, &path, &open);
	if (len == -EBADF)
		return NULL;
	if (len > NAME_KEPT)
		len = NAME_KEPT;
	if (len >= 0)
		file = find_or_add(&session->files, fd, path, len, open);
	if (!file)
		atomic64_inc(&session->lost_files);
	return file;
}

static struct traced_file *file_of(struct session *session, int fd)
{
	const struct file *open = open_file(current->files, fd);
	struct session_files *files = &session->files;
	struct traced_file *file;
	unsigned long irq;

	if (!open)
		return NULL;
	raw_spin_lock_irqsave(&files->lock, irq);
	file = find_open(files, fd, open);
	raw_spin_unlock_irqrestore(&files->lock, irq);
	return file ? file : resolve(session, fd);
}

static struct traced_file *file_of_argument(struct session *session, enum traced_call traced,
					    const unsigned long *arguments, int i)
{
	int argument = call_shapes[traced].descriptors[i];

	return argument ? file_of(session, (int)arguments[argument - 1]) : NULL;
}

/**
 * file_use_entry() - note the files that a call begins to use
 * @session: the session
 * @call: where to
 * @traced: which call it is
 * @arguments: its arguments
 */
void file_use_entry(struct session *session, struct thread_call *call, enum traced_call traced,
		    const unsigned long *arguments)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(call->files); i++)
		call->files[i] = file_of_argument(session, traced, arguments, i);
}

static void count_open(struct session *session, int fd)
{
	struct session_files *files = &session->files;
	struct traced_file *file;
	unsigned long irq;

	raw_spin_lock_irqsave(&files->lock, irq);
	forget_descriptor(files, fd);
	raw_spin_unlock_irqrestore(&files->lock, irq);

	file = resolve(session, fd);
	if (!file)
		return;
	raw_spin_lock_irqsave(&files->lock, irq);
	file->opens++;
	raw_spin_unlock_irqrestore(&files->lock, irq);
}

/* A descriptor is gone whatever its close returned. */
static void count_close(struct traced_file *file, long ret)
{
	if (!file)
		return;
	file->file = NULL;
	if (!ret)
		file->closes++;
}

static void count_close_range(struct session_files *files, const unsigned long *arguments)
{
	unsigned int first = arguments[0], last = arguments[1];
	struct traced_file *file;

	list_for_each_entry(file, &files->in_order, order) {
		unsigned int fd = file->fd;

		if (file->file && fd >= first && fd <= last && !open_file(current->files, fd))
			count_close(file, 0);
	}
}

static void count_transfer(struct traced_file *from, struct traced_file *to, long ret)
{
	u64 bytes = ret > 0 ? ret : 0;

	if (from) {
		from->reads++;
		from->read_bytes += bytes;
	}
	if (to) {
		to->writes++;
		to->written_bytes += bytes;
	}
}

/* Descriptors may have been closed by it, unseen. */
static void forget_open(struct session_files *files)
{
	struct traced_file *file;

	list_for_each_entry(file, &files->in_order, order)
		if (file->file != open_file(current->files, file->fd))
			file->file = NULL;
}

/* dup2() of a descriptor to itself does nothing. */
static bool duplicates(enum traced_call traced, const unsigned long *arguments)
{
	return traced == CALL_DUP || (int)arguments[0] != (int)arguments[1];
}

/**
 * file_use_count() - count a call that has completed for the files it used
 * @session: the session
 * @call: the call as it began, or NULL if that was not seen
 * @traced: which call it is
 * @arguments: its arguments
 * @ret: its result
 */
void file_use_count(struct session *session, const struct thread_call *call,
		    enum traced_call traced, const unsigned long *arguments, long ret)
{
	enum call_role role = call_shapes[traced].role;
	struct session_files *files = &session->files;
	struct traced_file *used[2] = {};
	unsigned long irq;
	int i;

	/* A path can't be looked up where a signal interrupts: that may need a lock held there. */
	if (!call && irqs_disabled()) {
		atomic64_inc(&session->lost_files);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(used); i++)
		used[i] = call ? call->files[i] :
				 file_of_argument(session, traced, arguments, i);

	raw_spin_lock_irqsave(&files->lock, irq);
	if (role == ROLE_CLOSE)
		count_close(used[0], ret);
	else if (role == ROLE_CLOSE_RANGE && !ret)
		count_close_range(files, arguments);
	else if (role == ROLE_DUPLICATE && ret >= 0 && duplicates(traced, arguments))
		count_close(used[1], 0);
	else if (role == ROLE_TRANSFER)
		count_transfer(used[0], used[1], ret);
	else if (role == ROLE_SEEK && used[0])
		used[0]->seeks++;
	else if (role == ROLE_EXECUTE && !ret)
		forget_open(files);
	raw_spin_unlock_irqrestore(&files->lock, irq);

	if (role == ROLE_OPEN && ret >= 0)
		count_open(session, ret);
	else if (role == ROLE_DUPLICATE && ret >= 0 && duplicates(traced, arguments))
		count_open(session, ret);
}
