/* From the start info to the end of the command line. */
#include "guest.h"

struct e820 *memmap;
u32 memmap_len;
u64 ram_end;

static int cmd_print(struct args *a)
{
	put("guest: ");
	for (u32 i = 0; i < a->n; i++) {
		if (i)
			put("%s%s", i > 1 || a->val[0] ? " " : "", a->key[i]);
		if (a->val[i])
			put("%s%s", i ? "=" : "", a->val[i]);
	}
	put("\r\n");
	return 0;
}

static int cmd_help(struct args *a)
{
	(void)a;
	for (u32 i = 0; i < command_count; i++)
		put("%s%s", commands[i].name, i % 10 == 9 ? "\r\n" : " ");
	put("\r\n");
	return 0;
}

static int cmd_pci(struct args *a)
{
	(void)a;
	pci_scan();
	for (u32 i = 0; i < pci_count; i++) {
		struct pci *p = &pci_devs[i];
		say("pci %02x:%02x.%u %04x:%04x class=%06x", p->bus, p->devfn >> 3, p->devfn & 7, p->vendor, p->device, pci_read(p, 8) >> 8);
	}
	return 0;
}

static int cmd_irqs(struct args *a)
{
	(void)a;
	for (u32 i = 0; i < 256; i++)
		if (irq_count[i])
			say("irqs vector=0x%02x count=%u", i, irq_count[i]);
	return 0;
}

static int cmd_exit(struct args *a)
{
	outb(0x501, a->val[0] ? parse_num(a->val[0]) : failures != 0);
	power_off();
}

static int cmd_panic(struct args *a)
{
	outb(0x505, arg_num(a, "event", 1));
	return 0;
}

static int cmd_triple(struct args *a)
{
	(void)a;
	ring0(r0_triple);
	return 1;
}

static int cmd_fault(struct args *a)
{
	(void)a;
	asm volatile("ud2");
	return 1;
}

static int cmd_halt(struct args *a) { (void)a; stop(); }
static int cmd_idle(struct args *a) { (void)a; idle(); }
static int cmd_poweroff(struct args *a) { (void)a; power_off(); }
static int cmd_reset(struct args *a) { (void)a; reset(); }

/* Reads a line, with the input echoed. */
static void read_line(char *line, u32 size)
{
	u32 n = 0;
	for (;;) {
		int c = serial_get();
		if (c < 0) {
			irq_wait();
		} else if (c == '\r' || c == '\n') {
			break;
		} else if ((c == 8 || c == 127) && n) {
			put("\b \b");
			n--;
		} else if (c >= ' ' && c < 127 && n < size - 1) {
			serial_put(line[n++] = c);
		}
	}
	put("\r\n");
	line[n] = 0;
}

static int cmd_shell(struct args *a)
{
	(void)a;
	static char line[1024];
	serial_irq();
	say("shell: type help, or quit");
	for (;;) {
		put("> ");
		read_line(line, sizeof(line));
		if (streq(line, "quit"))
			return 0;
		run_line(line);
	}
}

const struct command commands[] = {
	{"print", cmd_print}, {"help", cmd_help}, {"shell", cmd_shell}, {"pci", cmd_pci}, {"irqs", cmd_irqs}, {"cpuid", cmd_cpuid}, {"acpi", cmd_acpi},
	{"spin", cmd_spin}, {"idle", cmd_idle}, {"halt", cmd_halt}, {"exit", cmd_exit}, {"poweroff", cmd_poweroff}, {"reset", cmd_reset},
	{"triple", cmd_triple}, {"panic", cmd_panic}, {"fault", cmd_fault}, {"ioexit", cmd_ioexit}, {"mmioexit", cmd_mmioexit},
	{"mem.map", cmd_mem_map}, {"mem.pattern", cmd_mem_pattern}, {"mem.module", cmd_mem_module}, {"rng", cmd_rng}, {"vmem", cmd_vmem},
	{"blk.info", cmd_blk_info}, {"blk.read", cmd_blk_read}, {"blk.write", cmd_blk_write}, {"blk.flush", cmd_blk_flush},
	{"blk.discard", cmd_blk_discard}, {"blk.zeroes", cmd_blk_zeroes}, {"blk.verify", cmd_blk_verify}, {"blk.torture", cmd_blk_torture},
	{"blk.bench", cmd_blk_bench}, {"net.info", cmd_net_info}, {"net.ctrl", cmd_net_ctrl}, {"net.flood", cmd_net_flood},
	{"net.rx", cmd_net_rx}, {"net.echo", cmd_net_echo}, {"net.storm", cmd_net_storm}, {"net.follow", cmd_net_follow},
	{"badring", cmd_badring}, {"wildregs", cmd_wildregs}, {"watchdog", cmd_watchdog},
};
const u32 command_count = LEN(commands);

/* Finds the RAM that this program lies in; modules are above the heap. */
static void find_ram(void)
{
	static struct e820 unknown = {0x100000, 15 << 20, 1, 0};
	struct start_info *s = START_INFO;
	memmap = &unknown;
	memmap_len = 1;
	if (s->version >= 1 && s->memmap_entries) {
		memmap = (struct e820 *)s->memmap;
		memmap_len = s->memmap_entries;
	}
	for (u32 i = 0; i < memmap_len; i++)
		if (memmap[i].type == 1 && memmap[i].addr <= (u64)end && memmap[i].addr + memmap[i].size > (u64)end)
			ram_end = memmap[i].addr + memmap[i].size;
	u64 heap_end = ram_end;
	for (u32 i = 0; i < s->nr_modules; i++)
		heap_end = min(heap_end, ((struct module *)s->modlist)[i].addr);
	heap_init((u64)end, heap_end);
}

static u32 length(const char *s)
{
	u32 n = 0;
	while (s[n])
		n++;
	return n;
}

void main(void)
{
	cpu_init();
	irq_init();
	find_ram();
	const char *given = START_INFO->cmdline ? (const char *)START_INFO->cmdline : "";
	u32 n = length(given) + 1;
	char *line = memcpy(alloc(n), given, n);
	say("boot ram=%lu cmdline=\"%s\"", ram_end, line);
	run_line(n > 1 ? line : (char[]){"shell"});
	say("done failures=%u", failures);
	idle();
}
