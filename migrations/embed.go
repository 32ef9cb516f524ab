// Package migrations holds the schema's steps, applied in the order of their
// numbers and never undone.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed *.sql
var files embed.FS

// Files returns the migrations as NNNN_name.sql in the root of a file system.
func Files() fs.FS { return files }
