// SPDX-License-Identifier: GPL-2.0
/*
 * Make the kernel report a fault: echo NAME > /proc/faulty
 *
 * The fault happens in the process that writes, so that it is the one that the report names.
 * Only for a guest: most of these leave the kernel broken, some end it.
 */

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static unsigned int seconds = 30;
module_param(seconds, uint, 0600);
MODULE_PARM_DESC(seconds, "how long a fault lasts that keeps a processor or a task");

static noinline void null_dereference(void)
{
	int *volatile nowhere = NULL;

	nowhere[2] = 1;
}

static noinline void non_canonical(void)
{
	int *volatile nowhere = (int *)0xdead000000000100UL;

	*nowhere = 1;
}

static noinline void freed_page(void)
{
	char *page = vmalloc(PAGE_SIZE);

	vfree(page);
	vm_unmap_aliases();
	*(volatile char *)page = 1;
}

static noinline void not_executable(void)
{
	static int data;
	void (*volatile function)(void) = (void (*)(void))&data;

	function();
}

static noinline void bug(void)
{
	BUG();
}

static noinline void warn(void)
{
	WARN(1, "faulty: %d of %d is wrong\n", 1, 2);
}

static noinline void warn_on(void)
{
	WARN_ON(1);
}

static noinline void warn_once(void)
{
	WARN_ONCE(1, "faulty: this is said once\n");
}

static noinline void divide(void)
{
	int result = 1;

	asm volatile("xor %%edx, %%edx\n\tdiv %1" : "+a" (result) : "r" (0) : "edx", "cc");
}

/* Not BUG(): the kernel knows nothing of this place. */
static noinline void invalid_opcode(void)
{
	asm volatile("ud2");
}

static noinline void spin(void)
{
	unsigned long end = jiffies + seconds * HZ;

	while (time_before(jiffies, end))
		cpu_relax();
}

static noinline void soft_lockup(void)
{
	preempt_disable();
	spin();
	preempt_enable();
}

/* Without interrupts jiffies may stand still. */
static noinline void hard_lockup(void)
{
	unsigned long flags;

	local_irq_save(flags);
	mdelay(seconds * 1000);
	local_irq_restore(flags);
}

static noinline void hung_task(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(seconds * HZ);
}

static noinline void rcu_stall(void)
{
	rcu_read_lock();
	spin();
	rcu_read_unlock();
}

static noinline void sleep_in_atomic(void)
{
	preempt_disable();
	msleep(20);
	preempt_enable();
}

static noinline void list_corruption(void)
{
	static LIST_HEAD(list);
	static struct list_head entry;

	list_add(&entry, &list);
	list.next = NULL;
	list_del(&entry);
}

static noinline void refcount(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static noinline int stack_overflow(int depth)
{
	char frame[512];

	memset(frame, depth, sizeof(frame));
	OPTIMIZER_HIDE_VAR(depth);
	barrier_data(frame);
	if (depth == INT_MAX)
		return 0;
	return stack_overflow(depth + 1) + frame[depth % sizeof(frame)];
}

static void overflow_stack(void)
{
	stack_overflow(0);
}

static noinline void end_in_panic(void)
{
	panic("faulty: nothing goes on from here");
}

static noinline void use_after_free(void)
{
	char *object = kmalloc(100, GFP_KERNEL);

	kfree(object);
	*(volatile char *)object = 1;
}

static noinline void out_of_bounds(void)
{
	char *object = kmalloc(100, GFP_KERNEL);

	if (!object)
		return;
	OPTIMIZER_HIDE_VAR(object);
	((volatile char *)object)[100] = 1;
	kfree(object);
}

static noinline void shift_out_of_bounds(void)
{
	volatile int bits = 32;
	volatile int value = 1;

	value <<= bits;
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static noinline void circular_locking(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static noinline void inconsistent_locking(void)
{
	static DEFINE_SPINLOCK(lock);

	local_bh_disable();
	local_bh_enable();
	spin_lock(&lock);
	spin_unlock(&lock);
	local_irq_disable();
	lockdep_softirq_enter();
	spin_lock(&lock);
	spin_unlock(&lock);
	lockdep_softirq_exit();
	local_irq_enable();
}

static noinline void held_at_return(void)
{
	mutex_lock(&first);
}

static noinline void suspicious_rcu(void)
{
	static int __rcu *pointer;

	(void)rcu_dereference(pointer);
}

static const struct {
	const char *name;
	void (*happens)(void);
} faults[] = {
	{ "null", null_dereference },
	{ "non_canonical", non_canonical },
	{ "freed_page", freed_page },
	{ "not_executable", not_executable },
	{ "bug", bug },
	{ "warn", warn },
	{ "warn_on", warn_on },
	{ "warn_once", warn_once },
	{ "divide", divide },
	{ "invalid_opcode", invalid_opcode },
	{ "soft_lockup", soft_lockup },
	{ "hard_lockup", hard_lockup },
	{ "hung_task", hung_task },
	{ "rcu_stall", rcu_stall },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "list", list_corruption },
	{ "refcount", refcount },
	{ "stack_overflow", overflow_stack },
	{ "panic", end_in_panic },
	{ "use_after_free", use_after_free },
	{ "out_of_bounds", out_of_bounds },
	{ "shift", shift_out_of_bounds },
	{ "circular_locking", circular_locking },
	{ "inconsistent_locking", inconsistent_locking },
	{ "held_at_return", held_at_return },
	{ "suspicious_rcu", suspicious_rcu },
};

static ssize_t faulty_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char name[32] = "";
	size_t fault;

	if (size >= sizeof(name) || copy_from_user(name, from, size))
		return -EINVAL;
	for (fault = 0; fault < ARRAY_SIZE(faults); fault++) {
		if (sysfs_streq(name, faults[fault].name)) {
			faults[fault].happens();
			return size;
		}
	}
	return -EINVAL;
}

static const struct proc_ops faulty_ops = {
	.proc_write = faulty_write,
};

static int __init faulty_init(void)
{
	return proc_create("faulty", 0200, NULL, &faulty_ops) ? 0 : -ENOMEM;
}
module_init(faulty_init);

static void __exit faulty_exit(void)
{
	remove_proc_entry("faulty", NULL);
}
module_exit(faulty_exit);

MODULE_DESCRIPTION("Faults on demand");
MODULE_LICENSE("GPL");
