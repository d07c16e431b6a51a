// Command qapigen derives decoders and encoders from the wire types of package
// qapi: for each schema file X.go of the folder that it is given it writes
// X_gen.go, and to the file that it is given the reference for users, made of the
// doc comments. What it expects of a schema file stands in qapi's package comment.
//
// It reads the syntax alone, so it works while the package does not compile, and
// it depends on the standard library alone.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: qapigen FOLDER REFERENCE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "qapigen:", err)
		os.Exit(1)
	}
}

// write generates the files of a folder, and the reference.
func write(dir, reference string) error {
	files, text, err := generate(dir)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(reference, text, 0o644)
}
