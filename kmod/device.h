/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DEVICE_H
#define DEVICE_H

int os_ftrace_device_add(void);
void os_ftrace_device_remove(void);

#endif /* DEVICE_H */
