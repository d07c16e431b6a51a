package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"hv/block/imgtool"
)

const imgUsage = `usage: hvctl img COMMAND [OPTION...] [ARGUMENT...]

  create [-q] [-f FMT] [-b FILE -F FMT] [-u] [-o OPTIONS] FILE [SIZE]
  info [-f FMT] [--backing-chain] [--output=human|json] [-U] FILE
  check [-q] [-f FMT] [--output=human|json] [-r leaks|all] [-U] FILE
  convert [-cnpqU] [-f FMT] [-O FMT] [-B FILE] [-F FMT] [-o OPTIONS] [-l SNAPSHOT] [-S SIZE]
          [-t CACHE] [-T CACHE] [--bitmaps] [--target-is-zero] FILE... TARGET
  map [-f FMT] [--start-offset=N] [--max-length=N] [--output=human|json] [-U] FILE
  resize [-q] [-f FMT] [--preallocation=MODE] [--shrink] FILE [+|-]SIZE
  rebase [-pqu] [-f FMT] [-t CACHE] [-T CACHE] -b FILE [-F FMT] FILE
  commit [-dpq] [-f FMT] [-t CACHE] [-b BASE] FILE
  compare [-pqsU] [-f FMT] [-F FMT] FILE FILE
  snapshot [-q] [-U] [-l | -a NAME | -c NAME | -d NAME] FILE
  bitmap [-f FMT] (--add [-g N] | --remove | --clear | --enable | --disable | --merge SOURCE)...
         [-b FILE [-F FMT]] FILE BITMAP
  measure [--output=human|json] [-O FMT] [-o OPTIONS] [-l SNAPSHOT] [--size N | [-f FMT] FILE]

The options are those of qemu-img. All commands take --image-opts, with which FILE is
KEY=VALUE,... as -blockdev takes it; a FILE may be json:{...}, too.
`

// imgStatus ends the tool with a status of the command's own.
type imgStatus int

func (s imgStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// img is one command on images.
type img struct {
	*tool
	options
	ctx context.Context
}

// imgCommand is what a command takes and does.
type imgCommand struct {
	short string // options of one letter; a colon follows those that have a value
	long  []string
	run   func(*img) error
}

func imgCommands() map[string]imgCommand {
	output, opts := []string{"output=", "image-opts", "object=", "force-share"}, []string{"image-opts", "object="}
	return map[string]imgCommand{
		"create":   {"qf:b:F:o:u", []string{"object="}, (*img).create},
		"info":     {"f:U", append(output, "backing-chain"), (*img).info},
		"check":    {"qf:r:T:U", append(output, "repair="), (*img).check},
		"convert":  {"cnpqUWCf:O:B:F:o:l:S:t:T:m:r:", append(opts, "force-share", "bitmaps", "skip-broken-bitmaps", "target-is-zero", "target-image-opts"), (*img).convert},
		"map":      {"f:Us:l:", append(output, "start-offset=", "max-length="), (*img).mapOut},
		"resize":   {"qf:", append(opts, "preallocation=", "shrink"), (*img).resize},
		"rebase":   {"pquUf:t:T:b:F:", append(opts, "force-share"), (*img).rebase},
		"commit":   {"dpqf:t:b:r:", opts, (*img).commit},
		"compare":  {"pqsUf:F:T:", append(opts, "force-share"), (*img).compare},
		"snapshot": {"qUla:c:d:", append(opts, "force-share"), (*img).snapshot},
		"bitmap":   {"f:b:F:g:", append(opts, "add", "remove", "clear", "enable", "disable", "merge=", "granularity="), (*img).bitmap},
		"measure":  {"O:o:f:l:U", append(output, "size="), (*img).measure},
	}
}

// img runs a command on images. ctx ends it between two steps.
func (t *tool) img(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usageError("img: which command?")
	}
	if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		_, err := io.WriteString(t.out, imgUsage)
		return err
	}
	c, ok := imgCommands()[args[0]]
	if !ok {
		return usageError(fmt.Sprintf("img: there is no command '%s'", args[0]))
	}
	o, err := getopt(args[1:], c.short, c.long)
	if err != nil {
		return imgError(fmt.Errorf("img %s: %w", args[0], err))
	}
	if o.has("o") && slices.Contains(imgtool.Split(o.value("o")), "help") {
		return t.optionHelp(o)
	}
	m := &img{t, o, ctx}
	if f := m.value("output"); f != "" && f != "human" && f != "json" {
		return imgError(errors.New("--output must be used with human or json as argument."))
	}
	return imgError(c.run(m))
}

// imgError keeps an error apart from wrong usage of hvctl, so that it ends with 1 as qemu-img does.
func imgError(err error) error { return err }

// optionHelp lists the options of a format.
func (t *tool) optionHelp(o options) error {
	format := o.value("f") + o.value("O")
	if format == "" {
		format = "raw"
	}
	keys := imgtool.Keys(format)
	if keys == nil {
		return fmt.Errorf("Unknown file format '%s'", format)
	}
	fmt.Fprintln(t.out, "Supported options:")
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(t.out, "  %s=<value>\n", k)
	}
	return nil
}

// options are the options of a command line, and what is none.
type options struct {
	given []option
	args  []string
}

type option struct{ name, value string }

// getopt reads options, which may stand after arguments, too. Long ones that end in = have a value.
func getopt(args []string, short string, long []string) (o options, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		next := func() (string, error) {
			if i++; i == len(args) {
				return "", fmt.Errorf("missing argument for option '%s'", a)
			}
			return args[i], nil
		}
		switch {
		case a == "--":
			o.args = append(o.args, args[i+1:]...)
			return o, nil
		case strings.HasPrefix(a, "--"):
			err = o.takeLong(a, long, next)
		case strings.HasPrefix(a, "-") && a != "-":
			err = o.takeShort(a, short, next)
		default:
			o.args = append(o.args, a)
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *options) takeLong(a string, long []string, next func() (string, error)) (err error) {
	name, value, said := strings.Cut(a[2:], "=")
	switch {
	case slices.Contains(long, name) && !said:
	case slices.Contains(long, name+"="):
		if !said {
			value, err = next()
		}
	default:
		return fmt.Errorf("unrecognized option '%s'", a)
	}
	o.given = append(o.given, option{name, value})
	return err
}

func (o *options) takeShort(a, short string, next func() (string, error)) (err error) {
	for at := 1; at < len(a); at++ {
		i := strings.IndexByte(short, a[at])
		if i < 0 || a[at] == ':' {
			return fmt.Errorf("unrecognized option '%s'", a)
		}
		if i+1 == len(short) || short[i+1] != ':' {
			o.given = append(o.given, option{a[at : at+1], ""})
			continue
		}
		value := a[at+1:]
		if value == "" {
			value, err = next()
		}
		o.given = append(o.given, option{a[at : at+1], value})
		return err
	}
	return nil
}

func (o *options) has(name string) bool {
	return slices.ContainsFunc(o.given, func(x option) bool { return x.name == name })
}

// value returns an option's last value.
func (o *options) value(names ...string) (v string) {
	for _, x := range o.given {
		if slices.Contains(names, x.name) {
			v = x.value
		}
	}
	return v
}

// wants checks how many arguments there are.
func (o *options) wants(least, most int, what string) error {
	if len(o.args) < least || len(o.args) > most {
		return errors.New(what)
	}
	return nil
}

const oneFile = "Expecting one image file name"

// source is the image of a name, in the format that the option says.
func (m *img) source(name, format string) imgtool.Source {
	return imgtool.Source{Name: name, Format: m.value(format), Options: m.has("image-opts")}
}

func (m *img) share() bool { return m.has("U") || m.has("force-share") }

// say prints a message unless -q was given.
func (m *img) say(format string, args ...any) {
	if !m.has("q") {
		fmt.Fprintf(m.out, format, args...)
	}
}

// progress returns what shows progress, nil unless -p was given; and what ends it.
func (m *img) progress() (show func(done, total int64), end func()) {
	if !m.has("p") || m.has("q") {
		return nil, func() {}
	}
	last := -1.0
	show = func(done, total int64) {
		percent := 100.0
		if total > 0 {
			percent = float64(done) * 100 / float64(total)
		}
		if percent-last >= 1 || done == total || last < 0 {
			last = percent
			fmt.Fprintf(m.out, "    (%3.2f/100%%)\r", percent)
		}
	}
	show(0, 1)
	return show, func() { fmt.Fprintln(m.out) }
}

// warnGuess warns of a format that was found by the contents before they are written to.
func (m *img) warnGuess(im *imgtool.Image, name string) {
	if im.Guessed && im.Format() == "raw" && !m.has("q") {
		fmt.Fprintf(m.errOut, "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"+
			"         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n"+
			"         Specify the 'raw' format explicitly to remove the restrictions.\n", name)
	}
}
