/* What ACPI's tables say about power (ACPI 6.4 §4.8, §5.2.9). */
#include "guest.h"

struct header { char sig[4]; u32 len; u8 rev, sum; char oem[26]; } __attribute__((packed));
struct gas { u8 space, width, offset, size; u64 addr; } __attribute__((packed));

enum { GAS_IO = 1 };
enum { FADT_DSDT = 40, FADT_PM1A_CNT = 64, FADT_FLAGS = 112, FADT_RESET = 116, FADT_RESET_VALUE = 128, FADT_X_DSDT = 140, FADT_SLEEP = 244 };
#define HW_REDUCED (1u << 20)
#define SLP_EN 0x2000 /* of PM1_CNT; SLEEP_CONTROL's is bit 5 */

static u8 sum(void *p, u32 len)
{
	u8 s = 0;
	for (u32 i = 0; i < len; i++)
		s += ((u8 *)p)[i];
	return s;
}

/* The n-th table of the XSDT, or of the RSDT where there is none. */
static struct header *table(u32 n)
{
	u8 *rsdp = (u8 *)START_INFO->rsdp;
	if (!rsdp || memcmp(rsdp, "RSD PTR ", 8))
		return NULL;
	u64 xsdt = rsdp[15] >= 2 ? *(u64 *)(rsdp + 24) : 0;
	struct header *h = (struct header *)(xsdt ? xsdt : *(u32 *)(rsdp + 16));
	u32 size = xsdt ? 8 : 4, off = sizeof(*h) + n * size;
	if (off + size > h->len)
		return NULL;
	u8 *e = (u8 *)h + off;
	return (struct header *)(xsdt ? *(u64 *)e : *(u32 *)e);
}

static u8 *fadt(void)
{
	struct header *h;
	for (u32 i = 0; (h = table(i)); i++)
		if (!memcmp(h->sig, "FACP", 4))
			return (u8 *)h;
	return NULL;
}

/* The first element of the package \_S5, of which only the common encodings
 * are known: zero, one, and a byte. */
static u8 s5_type(u8 *f)
{
	u64 addr = *(u32 *)(f + FADT_DSDT);
	if (!addr && ((struct header *)f)->rev >= 3)
		addr = *(u64 *)(f + FADT_X_DSDT);
	struct header *d = (struct header *)addr;
	for (u8 *p = (u8 *)(d + 1); d && p + 9 <= (u8 *)d + d->len; p++)
		if (!memcmp(p, "_S5_\x12", 5)) {
			p += 7; /* name, package, its length and count */
			return p[0] == 0x0a ? p[1] : p[0];
		}
	return 0;
}

static void write(struct gas *g, u8 v)
{
	if (g->space == GAS_IO)
		outb(g->addr, v);
	else if (g->addr)
		wr8(g->addr, v);
}

void acpi_power_off(void)
{
	u8 *f = fadt();
	if (!f)
		return;
	u16 type = s5_type(f);
	if (*(u32 *)(f + FADT_FLAGS) & HW_REDUCED)
		write((struct gas *)(f + FADT_SLEEP), type << 2 | 0x20);
	else
		outw(*(u32 *)(f + FADT_PM1A_CNT), type << 10 | SLP_EN);
}

void acpi_reset(void)
{
	u8 *f = fadt();
	if (f)
		write((struct gas *)(f + FADT_RESET), f[FADT_RESET_VALUE]);
}

int cmd_acpi(struct args *a)
{
	struct header *h;
	u32 bad = 0, i;
	(void)a;
	for (i = 0; (h = table(i)); i++) {
		u8 s = sum(h, h->len);
		bad += s != 0;
		say("acpi table=%c%c%c%c addr=0x%lx size=%u checksum=%u", h->sig[0], h->sig[1], h->sig[2], h->sig[3], (u64)h, h->len, s);
	}
	return bad || !i;
}
