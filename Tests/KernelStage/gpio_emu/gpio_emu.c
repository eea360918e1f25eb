// SPDX-License-Identifier: GPL-2.0
/*
 * A GPIO chip whose far side is a user program.
 *
 * In front it is an ordinary gpiochip: character device, requests, edge events. Behind it,
 * /dev/gpio_emu carries records of 16 bytes, in the byte order of the machine:
 *
 *	u64 time	nanoseconds of the monotonic clock; ignored on write
 *	u32 line	offset of the line on the chip
 *	u32 state	bit 0: level; bit 8: the consumer drives the line; bit 9: there is a consumer
 *
 * Reading yields a record whenever a consumer asks for a line, gives it back, or changes its level
 * or direction; the node is pollable. When more than 4096 records wait, the oldest are kept and bit 31 of the state
 * of the next record read says that some are missing. Writing drives an input line and raises the
 * interrupt of its edge where one is armed; a write to a line that the consumer drives is ignored,
 * as is a level the line has already.
 *
 * Interfaces used: Documentation/driver-api/gpio/driver.rst of Linux 6.1.
 */
#include <linux/bitmap.h>
#include <linux/gpio/driver.h>
#include <linux/interrupt.h>
#include <linux/irqdomain.h>
#include <linux/kfifo.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#define MAX_LINES 64
#define RECORDS 4096
#define STATE_OUTPUT BIT(8)
#define STATE_REQUESTED BIT(9)
#define STATE_LOST BIT(31)

static int lines = 16;
module_param(lines, int, 0444);
MODULE_PARM_DESC(lines, "number of lines, 1 to 64");
static char *label = "gpio-emu";
module_param(label, charp, 0444);
MODULE_PARM_DESC(label, "label of the chip");

struct record {
	u64 time;
	u32 line;
	u32 state;
};

static struct gpio_chip chip;
static struct platform_device *parent;
static DECLARE_KFIFO(records, struct record, RECORDS);
static bool records_lost;
static DEFINE_SPINLOCK(records_lock);
static DECLARE_WAIT_QUEUE_HEAD(readers);

static DECLARE_BITMAP(levels, MAX_LINES);
static DECLARE_BITMAP(outputs, MAX_LINES);
static DECLARE_BITMAP(requested, MAX_LINES);
static DECLARE_BITMAP(unmasked, MAX_LINES);
static unsigned int edge_types[MAX_LINES];

/* Tells the user program about a line that the consumer changed. */
static void report(unsigned int line)
{
	struct record record = {
		.time = ktime_get_ns(),
		.line = line,
		.state = test_bit(line, levels) | (test_bit(line, outputs) ? STATE_OUTPUT : 0) |
			 (test_bit(line, requested) ? STATE_REQUESTED : 0),
	};
	unsigned long flags;

	spin_lock_irqsave(&records_lock, flags);
	if (!kfifo_put(&records, record))
		records_lost = true;
	spin_unlock_irqrestore(&records_lock, flags);
	wake_up_interruptible(&readers);
}

static bool take_record(struct record *record)
{
	unsigned long flags;
	bool found;

	spin_lock_irqsave(&records_lock, flags);
	found = kfifo_get(&records, record);
	/* The records that did not fit came after the last one that did. */
	if (found && records_lost && kfifo_is_empty(&records)) {
		record->state |= STATE_LOST;
		records_lost = false;
	}
	spin_unlock_irqrestore(&records_lock, flags);
	return found;
}

/* The front: what gpiolib asks of a chip. */

static int chip_request(struct gpio_chip *gc, unsigned int line)
{
	set_bit(line, requested);
	report(line);
	return 0;
}

/* The line keeps its direction and level, as the pins of most controllers do. */
static void chip_free(struct gpio_chip *gc, unsigned int line)
{
	clear_bit(line, requested);
	report(line);
}

static int chip_get(struct gpio_chip *gc, unsigned int line)
{
	return test_bit(line, levels);
}

static void chip_set(struct gpio_chip *gc, unsigned int line, int level)
{
	if (test_bit(line, levels) == !!level)
		return;
	assign_bit(line, levels, level);
	report(line);
}

static int chip_direction_input(struct gpio_chip *gc, unsigned int line)
{
	clear_bit(line, outputs);
	report(line);
	return 0;
}

static int chip_direction_output(struct gpio_chip *gc, unsigned int line, int level)
{
	set_bit(line, outputs);
	assign_bit(line, levels, level);
	report(line);
	return 0;
}

static int chip_get_direction(struct gpio_chip *gc, unsigned int line)
{
	return test_bit(line, outputs) ? GPIO_LINE_DIRECTION_OUT : GPIO_LINE_DIRECTION_IN;
}

static void edge_mask(struct irq_data *data)
{
	clear_bit(irqd_to_hwirq(data), unmasked);
	gpiochip_disable_irq(&chip, irqd_to_hwirq(data));
}

static void edge_unmask(struct irq_data *data)
{
	gpiochip_enable_irq(&chip, irqd_to_hwirq(data));
	set_bit(irqd_to_hwirq(data), unmasked);
}

static int edge_set_type(struct irq_data *data, unsigned int type)
{
	if (type & IRQ_TYPE_LEVEL_MASK)
		return -EINVAL;
	edge_types[irqd_to_hwirq(data)] = type;
	return 0;
}

static const struct irq_chip edge_chip = {
	.name = "gpio-emu",
	.irq_mask = edge_mask,
	.irq_unmask = edge_unmask,
	.irq_set_type = edge_set_type,
	.flags = IRQCHIP_IMMUTABLE,
	GPIOCHIP_IRQ_RESOURCE_HELPERS,
};

/* The back: what the user program reads and writes. */

static ssize_t back_read(struct file *file, char __user *buffer, size_t size, loff_t *position)
{
	struct record record;
	size_t done = 0;

	while (size - done >= sizeof(record)) {
		if (!take_record(&record)) {
			if (done)
				break;
			if (file->f_flags & O_NONBLOCK)
				return -EAGAIN;
			if (wait_event_interruptible(readers, !kfifo_is_empty(&records)))
				return -ERESTARTSYS;
			continue;
		}
		if (copy_to_user(buffer + done, &record, sizeof(record)))
			return -EFAULT;
		done += sizeof(record);
	}
	return done;
}

static void drive(unsigned int line, bool level)
{
	unsigned int wanted = level ? IRQ_TYPE_EDGE_RISING : IRQ_TYPE_EDGE_FALLING;
	unsigned long flags;

	if (test_bit(line, outputs) || test_bit(line, levels) == level)
		return;
	assign_bit(line, levels, level);
	if (!test_bit(line, unmasked) || !(edge_types[line] & wanted))
		return;
	local_irq_save(flags);
	generic_handle_domain_irq(chip.irq.domain, line);
	local_irq_restore(flags);
}

static ssize_t back_write(struct file *file, const char __user *buffer, size_t size,
			  loff_t *position)
{
	struct record record;
	size_t done;

	if (size % sizeof(record))
		return -EINVAL;
	for (done = 0; done < size; done += sizeof(record)) {
		if (copy_from_user(&record, buffer + done, sizeof(record)))
			return done ? done : -EFAULT;
		if (record.line >= lines)
			return done ? done : -EINVAL;
		drive(record.line, record.state & 1);
	}
	return done;
}

static __poll_t back_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &readers, table);
	return (kfifo_is_empty(&records) ? 0 : EPOLLIN | EPOLLRDNORM) | EPOLLOUT | EPOLLWRNORM;
}

static const struct file_operations back_operations = {
	.owner = THIS_MODULE,
	.read = back_read,
	.write = back_write,
	.poll = back_poll,
	.llseek = noop_llseek,
};

static struct miscdevice back = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "gpio_emu",
	.fops = &back_operations,
};

static int __init gpio_emu_init(void)
{
	int error;

	if (lines < 1 || lines > MAX_LINES)
		return -EINVAL;
	INIT_KFIFO(records);
	parent = platform_device_register_simple("gpio-emu", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	chip.label = label;
	chip.parent = &parent->dev;
	chip.owner = THIS_MODULE;
	chip.base = -1;
	chip.ngpio = lines;
	chip.request = chip_request;
	chip.free = chip_free;
	chip.get = chip_get;
	chip.set = chip_set;
	chip.direction_input = chip_direction_input;
	chip.direction_output = chip_direction_output;
	chip.get_direction = chip_get_direction;
	gpio_irq_chip_set_chip(&chip.irq, &edge_chip);
	chip.irq.default_type = IRQ_TYPE_NONE;
	chip.irq.handler = handle_simple_irq;
	error = gpiochip_add_data(&chip, NULL);
	if (error)
		goto remove_parent;
	error = misc_register(&back);
	if (error)
		goto remove_chip;
	return 0;

remove_chip:
	gpiochip_remove(&chip);
remove_parent:
	platform_device_unregister(parent);
	return error;
}

static void __exit gpio_emu_exit(void)
{
	misc_deregister(&back);
	gpiochip_remove(&chip);
	platform_device_unregister(parent);
}

module_init(gpio_emu_init);
module_exit(gpio_emu_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("GPIO chip driven by a user program, for tests");
