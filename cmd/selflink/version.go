package main

import (
	"context"
	"fmt"
	"runtime"
)

// showVersion tells which build this is.
func showVersion(_ context.Context, p *program, args []string) error {
	o := p.newOptions("version [options]", "Prints the version, the commit it was built from and Go's version.")
	if err := o.parse(args); err != nil {
		return err
	}
	if o.json {
		return p.printJSON(map[string]string{
			"version": p.version, "commit": p.commit, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	fmt.Fprintf(p.stdout, "selflink %s (commit %s, %s, %s/%s)\n", p.version, p.commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
