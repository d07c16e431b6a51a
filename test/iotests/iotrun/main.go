// Command iotrun runs tests of QEMU's block layer with hv as the emulator and sums up what came of
// them. Without names it runs those that `make test` keeps green; `all` are all that start an
// emulator. It exits with 1 if any failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"hv/test/iotests"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "iotrun:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	hv := flag.String("hv", "bin/hv", "the emulator")
	formats := flag.String("formats", "qcow2,raw", "image formats, or protocols such as nbd, for tests that do not name theirs")
	parallel := flag.Int("j", 1, "tests at a time")
	limit := flag.Duration("limit", 3*time.Minute, "for one test")
	quiet := flag.Bool("q", false, "do not print how outputs differ")
	flag.Parse()
	dir, err := iotests.Folder()
	if err != nil {
		return err
	}
	suite, err := iotests.Open(dir, *hv)
	if err != nil {
		return err
	}
	defer suite.Close()
	suite.Limit = *limit
	names, jobs := flag.Args(), iotests.Kept()
	if len(names) == 1 && names[0] == "all" {
		if names, err = iotests.All(dir); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		jobs = iotests.Jobs(names, strings.Split(*formats, ","))
	}
	report := iotests.Report{Out: os.Stdout, Verbose: !*quiet}
	suite.RunAll(ctx, jobs, *parallel, report.Add)
	if !report.Sum() {
		return errors.New("tests failed")
	}
	return ctx.Err()
}
