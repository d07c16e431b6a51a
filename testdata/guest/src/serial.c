/* COM1, polled; its receive interrupt only wakes a halted processor. */
#include "guest.h"

enum { COM1 = 0x3f8, LSR = COM1 + 5, IER = COM1 + 1, MCR = COM1 + 4 };

void serial_put(char c)
{
	while (!(inb(LSR) & 0x20))
		relax();
	outb(COM1, c);
}

int serial_get(void)
{
	u8 lsr = inb(LSR);
	if (lsr == 0xff || !(lsr & 1))
		return -1;
	return inb(COM1);
}

void serial_irq(void)
{
	wr32(IOAPIC, 0x10 + 2 * 4 + 1);
	wr32(IOAPIC + 0x10, rd32(LAPIC + 0x20) & 0xff000000);
	wr32(IOAPIC, 0x10 + 2 * 4);
	wr32(IOAPIC + 0x10, VECTOR_SERIAL);
	outb(MCR, 0x0b); /* OUT2 lets the interrupt through */
	outb(IER, 1);
}
