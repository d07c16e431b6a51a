/* The processor: tables, interrupts, time, and the ways to end. */
#include "guest.h"

struct gate { u16 low, sel; u8 ist, type; u16 mid; u32 high, zero; };
extern struct gate idt[256];

static void set_gate(u32 n, u8 *fn, u8 type)
{
	u64 a = (u64)fn;
	idt[n] = (struct gate){a, 8, 0, type, a >> 16, a >> 32, 0};
}

enum { GATE = 0x8e, GATE_USER = 0xee }; /* interrupt gates */

static u64 tables[6][512] __attribute__((aligned(4096))); /* PML4, PDPT, four directories */

enum { PTE_TABLE = 7, PTE_LARGE = 0x87 }; /* present, writable, user */

void cpu_init(void)
{
	for (u32 i = 0; i < 32; i++)
		set_gate(i, exception_stubs + 16 * i, GATE);
	for (u32 i = 32; i < 256; i++)
		set_gate(i, irq_stubs + 16 * i, GATE);
	set_gate(2, nmi_stub, GATE);
	set_gate(3, call_gate, GATE_USER);

	tables[0][0] = (u64)tables[1] | PTE_TABLE;
	for (u64 i = 0; i < 4 * 512; i++)
		tables[2 + i / 512][i % 512] = i << 21 | PTE_LARGE;
	for (u64 i = 0; i < 4; i++)
		tables[1][i] = (u64)tables[2 + i] | PTE_TABLE;
	ring0(r0_set_cr3, tables[0]);
}

void map_range(u64 addr, u64 size)
{
	u64 last = (addr + size - 1) >> 21;
	for (u64 page = addr >> 21; page <= last; page++) {
		u64 *pml4 = &tables[0][page >> 18 & 511];
		if (!*pml4)
			*pml4 = (u64)alloc(4096) | PTE_TABLE;
		u64 *pdpt = (u64 *)(*pml4 & ~0xffful) + (page >> 9 & 511);
		if (!*pdpt)
			*pdpt = (u64)alloc(4096) | PTE_TABLE;
		((u64 *)(*pdpt & ~0xffful))[page & 511] = page << 21 | PTE_LARGE;
	}
	ring0(r0_set_cr3, tables[0]);
}

/* The PIC is masked, with its vectors out of the exceptions' way; the local
 * APIC is on, with nothing but the spurious vector. */
void irq_init(void)
{
	static const u8 icw[] = {0x11, 0x20, 4, 1};
	outb(0x20, icw[0]);
	for (u32 i = 1; i < 4; i++)
		outb(0x21, icw[i]);
	outb(0xa0, icw[0]);
	outb(0xa1, 0x28);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	wr32(LAPIC + 0xf0, 0x1ff);
}

void irq_wait(void) { ring0(r0_wait); }

static u64 cpuid_khz(void)
{
	u32 r[4];
	ring0(r0_cpuid, 0x40000000ul, 0ul, r);
	if (r[0] >= 0x40000010 && r[0] < 0x40010000) {
		ring0(r0_cpuid, 0x40000010ul, 0ul, r);
		if (r[0])
			return r[0];
	}
	ring0(r0_cpuid, 0ul, 0ul, r);
	if (r[0] >= 0x15) {
		ring0(r0_cpuid, 0x15ul, 0ul, r);
		if (r[0] && r[1] && r[2])
			return (u64)r[2] * r[1] / r[0] / 1000;
	}
	return 0;
}

/* Measures 50 ms of the PIT's channel 2 (Intel 8254), whose output is bit 5 of
 * port 0x61. */
static u64 pit_khz(void)
{
	const u32 ticks = 59659;
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, ticks & 0xff);
	outb(0x42, ticks >> 8);
	u64 from = rdtsc();
	while (!(inb(0x61) & 0x20) && rdtsc() - from < 1ul << 32)
		relax();
	return (rdtsc() - from) / 50;
}

u64 tsc_khz(void)
{
	static u64 khz;
	if (!khz)
		khz = cpuid_khz();
	if (!khz)
		khz = pit_khz();
	return khz;
}

u64 ms_to_tsc(u64 ms) { return ms * tsc_khz(); }

void stop(void)
{
	for (;;)
		ring0(r0_stop);
}

void idle(void)
{
	for (;;)
		irq_wait();
}

/* Where ACPI's tables do not help, as the q35 chipset has it. */
void power_off(void)
{
	acpi_power_off();
	outw(0x604, 0x2000);
	stop();
}

void reset(void)
{
	acpi_reset();
	outb(0xcf9, 2);
	outb(0xcf9, 6);
	outb(0x64, 0xfe);
	ring0(r0_triple);
	stop();
}

/* Where the exception stubs go on. */
void fault_main(void)
{
	say("fault vector=%lu error=0x%lx rip=0x%lx cs=0x%lx rsp=0x%lx cr2=0x%lx", fault_info[0], fault_info[1], fault_info[2],
	    fault_info[3], fault_info[4], fault_info[5]);
	stop();
}
