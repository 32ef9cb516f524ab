package database

import (
	"context"
	"fmt"
	"io"
	"os"
)

// HelperDir tells a copy of this test binary to be an appliance that is going
// to be killed: it runs the database in the named directory.
const HelperDir = "SELFLINK_DATABASE_HELPER"

// Helper starts the database, tells the children's pids and waits to be killed.
func Helper(dir string) {
	s, err := New(quick(Options{DataDir: dir}))
	if err == nil {
		err = s.Start(context.Background())
	}
	if err == nil {
		_, err = s.Pool().Exec(context.Background(), "CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS n")
	}
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("pids", s.now.postgres.pid(), s.now.pooler.pid())
	_, _ = io.Copy(io.Discard, os.Stdin) //nolint:errcheck // until it is killed
}

// PooledMode names the way statements go through the pooled way.
func (s *Server) PooledMode() string { return s.now.pooledMode.String() }

// DirectMode names the way statements go through the direct way.
func (s *Server) DirectMode() string { return s.now.directMode.String() }
