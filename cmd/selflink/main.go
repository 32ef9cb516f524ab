// Command selflink is the SelfLink appliance: the server and the tools of its
// operator in one program. "selflink help" lists the verbs.
package main

import (
	"os"
	_ "time/tzdata" // TZ must work on machines and in images without zone files
)

// Set at build time with -ldflags "-X main.version=… -X main.commit=…".
var version, commit = "dev", "unknown"

func main() {
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		version: version, commit: commit,
		parts: production(), signals: processSignals,
	}
	os.Exit(p.run(os.Args[1:]))
}
