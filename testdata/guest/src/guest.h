/*
 * The guest program: what its files share. Everything runs on one processor, in
 * ring 3 with interrupts off, over an identity mapping of the first 4 GiB.
 */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

#define NULL ((void *)0)
#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define barrier() asm volatile("" ::: "memory")
#define fence() asm volatile("mfence" ::: "memory")
#define relax() asm volatile("pause" ::: "memory")

static inline u64 min(u64 a, u64 b) { return a < b ? a : b; }
static inline u64 align(u64 v, u64 to) { return (v + to - 1) & ~(to - 1); }

/* Ports. */
static inline void outb(u16 p, u8 v) { asm volatile("outb %0,%1" ::"a"(v), "Nd"(p)); }
static inline void outw(u16 p, u16 v) { asm volatile("outw %0,%1" ::"a"(v), "Nd"(p)); }
static inline void outl(u16 p, u32 v) { asm volatile("outl %0,%1" ::"a"(v), "Nd"(p)); }
static inline u8 inb(u16 p) { u8 v; asm volatile("inb %1,%0" : "=a"(v) : "Nd"(p)); return v; }
static inline u16 inw(u16 p) { u16 v; asm volatile("inw %1,%0" : "=a"(v) : "Nd"(p)); return v; }
static inline u32 inl(u16 p) { u32 v; asm volatile("inl %1,%0" : "=a"(v) : "Nd"(p)); return v; }

/* Device memory: one access of the given size each. */
static inline u8 rd8(u64 a) { return *(volatile u8 *)a; }
static inline u16 rd16(u64 a) { return *(volatile u16 *)a; }
static inline u32 rd32(u64 a) { return *(volatile u32 *)a; }
static inline void wr8(u64 a, u8 v) { *(volatile u8 *)a = v; }
static inline void wr16(u64 a, u16 v) { *(volatile u16 *)a = v; }
static inline void wr32(u64 a, u32 v) { *(volatile u32 *)a = v; }
/* The 64-bit fields of virtio's common configuration are two halves. */
static inline void wr64(u64 a, u64 v) { wr32(a, v); wr32(a + 4, v >> 32); }
static inline u64 rd64(u64 a) { u64 v = rd32(a); return v | (u64)rd32(a + 4) << 32; }

static inline u64 rdtsc(void)
{
	u32 lo, hi;
	asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}

/* start.S */
extern u8 exception_stubs[], irq_stubs[], nmi_stub[], call_gate[], end[];
extern volatile u32 irq_count[256];
extern volatile u64 fault_info[6]; /* vector, error, rip, cs, rsp, cr2 */
extern u32 start_info;
u64 ring0(void *fn, ...);
void r0_wait(void), r0_stop(void), r0_triple(void);
void r0_set_cr3(u64), r0_wrmsr(u64, u64), r0_out(u64, u64), r0_cpuid(u64, u64, u32 *);
u64 r0_rdmsr(u64);

/* cpu.c */
void cpu_init(void);
void irq_init(void);
void irq_wait(void);                   /* halts until an interrupt came */
void map_range(u64 addr, u64 size);    /* makes addresses above 4 GiB reachable */
u64 tsc_khz(void);
u64 ms_to_tsc(u64 ms);
void stop(void) __attribute__((noreturn));
void idle(void) __attribute__((noreturn));
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));

#define LAPIC 0xfee00000ul
#define IOAPIC 0xfec00000ul
#define VECTOR_SERIAL 0x30
#define VECTOR_MSI 0x40 /* and up, by queue */

/* serial.c */
void serial_irq(void);
int serial_get(void); /* a character, or -1 */
void serial_put(char c);

/* lib.c: say prints "guest: ", the text and the end of the line. It knows %s
 * %c %d %u %x with l, a width and a leading 0, and %m for a MAC address. */
void put(const char *fmt, ...);
void say(const char *fmt, ...);
int fail(const char *fmt, ...); /* says "error ...", counts it, returns 1 */
extern u32 failures;
void *memcpy(void *d, const void *s, u64 n);
void *memset(void *d, int c, u64 n);
int memcmp(const void *a, const void *b, u64 n);
int streq(const char *a, const char *b);
u64 next_random(u64 *state);
void *alloc(u64 size);          /* zeroed pages that stay */
void *temp(u64 size);           /* zeroed pages until the command ends */
void temp_release(void);
void heap_init(u64 from, u64 to);
u64 heap_free(void);

struct args;

/* acpi.c: both return when the tables do not say how. */
void acpi_power_off(void), acpi_reset(void);
int cmd_acpi(struct args *);

/* args.c: the words after a command, "key=value" each. */
struct args {
	u32 n;
	char *key[32], *val[32]; /* [0] is the command itself */
};
void run_line(char *line);
char *arg_str(struct args *a, const char *key, char *otherwise);
u64 arg_num(struct args *a, const char *key, u64 otherwise); /* 10, 0x10, 4K, on, off */
u64 parse_num(const char *s);
char *parse_mac(char *s, u8 mac[6]); /* what follows, or NULL */

/* main.c */
struct command {
	const char *name;
	int (*run)(struct args *);
};
extern const struct command commands[];
extern const u32 command_count;
extern struct e820 { u64 addr, size; u32 type, reserved; } *memmap;
extern u32 memmap_len;
extern u64 ram_end; /* of the RAM at 1 MiB */
struct start_info { /* xen/include/public/arch-x86/hvm/start_info.h */
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};
struct module { u64 addr, size, cmdline, reserved; };
#define START_INFO ((struct start_info *)(u64)start_info)

/* pci.c */
struct pci {
	u8 bus, devfn;
	u16 vendor, device;
};
extern struct pci pci_devs[256];
extern u32 pci_count;
void pci_scan(void);
u32 pci_read(struct pci *p, u32 off);
void pci_write(struct pci *p, u32 off, u32 v);
u16 pci_read16(struct pci *p, u32 off);
void pci_write16(struct pci *p, u32 off, u16 v);
u32 pci_cap(struct pci *p, u8 id, u32 after); /* offset of a capability, or 0 */
u64 pci_bar(struct pci *p, u32 n, u64 *size); /* address; size may be NULL */

/* virtio.c */
enum { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_RNG = 4, VIRTIO_MEM = 24 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64, FAILED = 128 };
enum { F_INDIRECT = 28, F_EVENT_IDX = 29, F_VERSION_1 = 32, F_PACKED = 34 };
#define BIT(n) (1ul << (n))
#define MAX_QUEUES 260
#define NO_VECTOR 0xffff

/* Fields of virtio_pci_common_cfg (virtio 1.2 §4.1.4.3). */
enum {
	C_DFSELECT = 0, C_DF = 4, C_GFSELECT = 8, C_GF = 12, C_MSIX = 16, C_NUMQ = 18, C_STATUS = 20, C_GEN = 21,
	C_QSELECT = 22, C_QSIZE = 24, C_QMSIX = 26, C_QENABLE = 28, C_QNOTIFY = 30, C_QDESC = 32, C_QDRIVER = 40,
	C_QDEVICE = 48, C_QNOTIFYDATA = 56, C_QRESET = 58,
};

struct desc { u64 addr; u32 len; u16 flags, next; };    /* split */
struct pdesc { u64 addr; u32 len; u16 id, flags; };     /* packed */
enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4, D_AVAIL = 1 << 7, D_USED = 1 << 15 };

struct buf { void *addr; u32 len; u8 write; };

struct vq {
	struct vdev *dev;
	u16 index, size;
	u64 notify;
	u8 packed, event_idx, indirect, irq;
	u8 avail_wrap, used_wrap; /* packed */
	u16 avail, used;          /* next to make available, next to see used */
	u16 kicked;               /* avail at the last notification */
	u16 free, nfree;          /* list of free descriptors (split) or buffer ids (packed) */
	u16 *link;                /* the list */
	u16 *count;               /* descriptors of a head or id */
	u64 *token;
	struct desc *table;       /* indirect tables, 4 entries each */
	union {
		volatile struct desc *desc;
		volatile struct pdesc *pdesc;
	};
	volatile u16 *driver;     /* avail ring, or driver event suppression */
	volatile u16 *device;     /* used ring, or device event suppression */
};

struct vdev {
	struct pci *pci;
	u32 type;
	u64 common, notify, isr, config, msix;
	u32 notify_mul, msix_size;
	u64 offered, features;
	u8 packed, event, indirect, irq, live;
	u16 qsize;
	struct vq *q[MAX_QUEUES];
	void *driver;             /* what the driver of its type keeps while live */
};

struct vdev *vdev_find(u32 type, u32 n);             /* NULL, and says so */
int vdev_reset(struct vdev *d);                      /* 0 when done */
int vdev_negotiate(struct vdev *d, u64 wanted);      /* 0 when FEATURES_OK stuck */
struct vq *vdev_queue(struct vdev *d, u16 index);    /* NULL, and says so */
void vdev_start(struct vdev *d);
u8 vdev_status(struct vdev *d);
struct vdev *vdev_open(struct args *a, u32 type, u64 wanted); /* found, options read, negotiated */
struct vdev *vdev_any(u32 n);                        /* n-th virtio device of any type */

int vq_add(struct vq *q, struct buf *b, u32 n, u64 token); /* -1 when there is no room */
void vq_kick(struct vq *q);                          /* notifies if the device wants it */
void vq_notify(struct vq *q);                        /* notifies */
int vq_poll(struct vq *q, u64 *token, u32 *len);     /* 1 when there was one */
void vq_wait(struct vq *q);                          /* until something may be used */
int vq_get(struct vq *q, u64 *token, u32 *len, u64 ms);  /* waits; 0 after ms */

void split_init(struct vq *q);
int split_add(struct vq *q, struct buf *b, u32 n, u64 token);
int split_wants_kick(struct vq *q);
int split_poll(struct vq *q, u64 *token, u32 *len);
int split_arm(struct vq *q);                         /* 1 when something is used already */
void split_disarm(struct vq *q);
void packed_init(struct vq *q);
int packed_add(struct vq *q, struct buf *b, u32 n, u64 token);
int packed_wants_kick(struct vq *q);
int packed_poll(struct vq *q, u64 *token, u32 *len);
int packed_arm(struct vq *q);
void packed_disarm(struct vq *q);

/* blk.c */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11, BLK_ZEROES = 13 };
struct blk_req {
	struct { u32 type, reserved; u64 sector; } hdr;
	volatile u8 status;
	u64 sector; /* bookkeeping of who submits */
};
struct blk {
	struct vdev *dev;
	struct vq *q;
	u64 capacity; /* sectors */
	u32 depth;
	struct blk_req *req; /* depth of them, and one for blk_sync */
};
int blk_open(struct args *a, struct blk *b, u32 depth);
int blk_submit(struct blk *b, u32 slot, u32 type, u64 sector, void *data, u32 len);
int blk_reap(struct blk *b);            /* a slot; waits */
int blk_sync(struct blk *b, u32 type, u64 sector, void *data, u32 len); /* the status */
int cmd_blk_info(struct args *), cmd_blk_read(struct args *), cmd_blk_write(struct args *), cmd_blk_flush(struct args *);
int cmd_blk_discard(struct args *), cmd_blk_zeroes(struct args *), cmd_blk_bench(struct args *);
/* verify.c */
int cmd_blk_verify(struct args *), cmd_blk_torture(struct args *);
/* net.c */
struct net {
	struct vdev *dev;
	struct vq *rx, *tx, *ctrl;
	u8 mac[6];
	u32 rxbufs;
	u8 *rxmem, *txmem, *ctlmem;
};
struct net *net_open(struct args *a);
void net_post(struct net *n, u32 i);                       /* gives a buffer back to the device */
int net_receive(struct net *n, u8 **frame, u32 *size);     /* the next frame's first buffer, or -1 */
int cmd_net_info(struct args *), cmd_net_flood(struct args *), cmd_net_rx(struct args *), cmd_net_echo(struct args *);
/* netctl.c, netstorm.c */
enum { CTL_RX = 0, CTL_MAC = 1, CTL_VLAN = 2, CTL_ANNOUNCE = 3, CTL_MQ = 4 };
enum { CTL_MAC_TABLE_SET = 0, CTL_MAC_ADDR_SET = 1, CTL_VLAN_ADD = 0, CTL_VLAN_DEL = 1 };
int net_control(struct net *n, u8 class, u8 cmd, void *data, u32 len, void *data2, u32 len2); /* 0 when it was taken */
int cmd_net_ctrl(struct args *), cmd_net_storm(struct args *), cmd_net_follow(struct args *);
/* rng.c, mem.c, vmem.c, io.c, bad.c, wild.c */
int cmd_rng(struct args *), cmd_vmem(struct args *);
int cmd_mem_map(struct args *), cmd_mem_pattern(struct args *), cmd_mem_module(struct args *);
int cmd_ioexit(struct args *), cmd_mmioexit(struct args *), cmd_cpuid(struct args *), cmd_spin(struct args *);
int cmd_watchdog(struct args *);
int cmd_badring(struct args *), cmd_wildregs(struct args *);

/* A misbehaviour: f does it to a live block device; use is 1 when a request
 * of its may be answered instead. */
struct bad {
	const char *name;
	void (*f)(struct blk *b);
};
extern const struct bad bad_split[], bad_packed[], bad_regs[];
extern const u32 bad_split_count, bad_packed_count, bad_regs_count;

#endif
