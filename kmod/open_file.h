/* SPDX-License-Identifier: GPL-2.0 */
#ifndef OPEN_FILE_H
#define OPEN_FILE_H

#include <linux/fdtable.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>

/**
 * open_file() - look up what a descriptor is
 * @table: the descriptors of a process; they stay
 * @fd: the descriptor
 *
 * Return: the open file, only to be compared, as it may be closed at any moment; or NULL
 */
static inline const struct file *open_file(struct files_struct *table, unsigned int fd)
{
	const struct file *file = NULL;
	struct fdtable *fdt;

	rcu_read_lock();
	fdt = rcu_dereference(table->fdt);
	if (fd < fdt->max_fds)
		file = rcu_dereference_raw(fdt->fd[array_index_nospec(fd, fdt->max_fds)]);
	rcu_read_unlock();
	return file;
}

#endif /* OPEN_FILE_H */
