/* The command line: commands end at ';' or where the next command's name is. */
#include "guest.h"

static const struct command *find(const char *name)
{
	for (u32 i = 0; i < command_count; i++)
		if (streq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* Cuts the next word off *line. Returns 0 at a ';' or at the end. */
static int next_word(char **line, char **key, char **val)
{
	char *p = *line;
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	*key = p;
	*val = NULL;
	for (; *p && *p != ';' && *p != ' ' && *p != '\t' && *p != '\n' && *p != '\r'; p++)
		if (*p == '=' && !*val) {
			*p = 0;
			*val = p + 1;
		}
	*line = p;
	if (p == *key)
		return 0;
	if (*p && *p != ';') {
		*p = 0;
		*line = p + 1;
	}
	return 1;
}

static void run(struct args *a)
{
	const struct command *c = find(a->key[0]);
	if (!c)
		fail("unknown command %s", a->key[0]);
	else if (c->run(a))
		fail("command=%s", a->key[0]);
	temp_release();
}

void run_line(char *line)
{
	struct args a = {0};
	for (;;) {
		char *key, *val;
		int word = next_word(&line, &key, &val);
		/* A word may end at the ';' that ends its command. */
		int last = !word || *line == ';';
		char sep = *line;
		if (last)
			*line = 0;
		if (word && a.n && find(key)) {
			run(&a);
			a.n = 0;
		}
		if (word && a.n < LEN(a.key)) {
			a.key[a.n] = key;
			a.val[a.n++] = val;
		}
		if (!last)
			continue;
		if (a.n)
			run(&a);
		a.n = 0;
		if (sep != ';')
			return;
		line++;
	}
}

char *arg_str(struct args *a, const char *key, char *otherwise)
{
	for (u32 i = 0; i < a->n; i++)
		if (streq(a->key[i], key))
			return a->val[i] ? a->val[i] : "1";
	return otherwise;
}

static u32 digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

u64 parse_num(const char *s)
{
	u64 v = 0;
	u32 base = 10;
	if (streq(s, "on"))
		return 1;
	if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
	}
	for (; digit(*s) < base; s++)
		v = v * base + digit(*s);
	switch (*s | 0x20) {
	case 'k': return v << 10;
	case 'm': return v << 20;
	case 'g': return v << 30;
	}
	return v;
}

u64 arg_num(struct args *a, const char *key, u64 otherwise)
{
	char *s = arg_str(a, key, NULL);
	return s ? parse_num(s) : otherwise;
}

char *parse_mac(char *s, u8 mac[6])
{
	for (u32 i = 0; i < 6; i++) {
		if (digit(s[0]) > 15 || digit(s[1]) > 15)
			return NULL;
		mac[i] = digit(s[0]) << 4 | digit(s[1]);
		s += 2;
		if (i < 5 && *s++ != ':')
			return NULL;
	}
	return s;
}
