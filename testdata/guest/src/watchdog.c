/* The watchdog of Intel's 6300ESB: turns it on and, if asked, feeds it. */
#include "guest.h"

static void unlocked(u64 base, u32 off, u32 v, u32 size)
{
	volatile u16 *reload = (volatile u16 *)(base + 0xc);
	*reload = 0x80;
	*reload = 0x86;
	if (size == 2)
		*(volatile u16 *)(base + off) = v;
	else
		*(volatile u32 *)(base + off) = v;
}

int cmd_watchdog(struct args *a)
{
	struct pci *p = NULL;
	pci_scan();
	for (u32 i = 0; i < pci_count; i++)
		if (pci_devs[i].vendor == 0x8086 && pci_devs[i].device == 0x25ab)
			p = &pci_devs[i];
	if (!p)
		return fail("no watchdog");
	u64 base = pci_bar(p, 0, NULL);
	u16 before = *(volatile u16 *)(base + 0xc);
	unlocked(base, 0, arg_num(a, "ms", 100), 4);
	unlocked(base, 4, arg_num(a, "ms", 100), 4);
	pci_write16(p, 0x60, 3);
	pci_read(p, 0x68); /* selects it: the register is a byte */
	outb(0xcfc, 2);
	say("watchdog timeout=%u", !!(before & 0x200));
	if (arg_num(a, "feed", 0))
		for (;;)
			unlocked(base, 0xc, 0x100, 2);
	return 0;
}
