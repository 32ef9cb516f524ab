package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/config"
	"selflink/appliance/database"
	"selflink/appliance/telemetry"
)

// manager is a service manager that notes what it is told.
func manager(t *testing.T) (path string, next func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl") // short: the path of a socket is
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return path, func() string {
		raw := make([]byte, 4096)
		n, err := conn.Read(raw)
		require.NoError(t, err)
		return string(raw[:n])
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	path, next := manager(t)
	b := newBench(t, "NOTIFY_SOCKET="+path, "CELERY_BROKER_URL=redis://:topsecret1@r/0")
	s := &fakeServer{}
	b.withServer(s)
	code := make(chan int, 1)
	go func() { code <- b.run([]string{"serve", "--listen", "127.0.0.1:8123"}) }()
	require.Equal(t, "STATUS=starting", next())
	require.Equal(t, "READY=1\nSTATUS=ready on 0.0.0.0:8123", next())
	b.signal <- syscall.SIGTERM
	require.Equal(t, "STOPPING=1\nSTATUS=stopping", next())
	require.Equal(t, exitOK, <-code)
	require.Equal(t, 1, s.stops())

	text := b.err.String()
	require.Contains(t, text, "API        http://127.0.0.1:8123/api/v1/")
	require.Contains(t, text, "Docs       http://127.0.0.1:8123/api/docs/")
	require.Contains(t, text, "Status     http://127.0.0.1:8123/ready")
	require.Contains(t, text, "replaced by the embedded broker: CELERY_BROKER_URL")
	require.NotContains(t, text, "topsecret1")
	require.FileExists(t, filepath.Join(b.data, "secrets", "secret_key"))
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "{") {
			require.True(t, json.Valid([]byte(line)), line)
		}
	}
}

func TestServeJSON(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.withServer(&fakeServer{})
	b.signal <- os.Interrupt // waits until somebody looks
	require.Equal(t, exitOK, b.run([]string{"serve", "--json"}))
	if b.out.String() != "" { // the signal may win over the start
		var out map[string]any
		require.NoError(t, json.Unmarshal([]byte(b.out.String()), &out))
		require.Equal(t, "ready", out["state"])
		require.Equal(t, "http://127.0.0.1:8123/api/v1/", out["api"])
	}
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	t.Run("at its start", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		s := &fakeServer{start: func(context.Context) error { return fmt.Errorf("listen: %w", syscall.EADDRINUSE) }}
		require.Equal(t, exitFailed, b.withServer(s).run([]string{"serve"}))
		require.Equal(t, 1, s.stops(), "what did start is stopped")
		require.Contains(t, b.err.String(), "cannot start: listen: address already in use")
		require.Contains(t, b.err.String(), "selflink status")
		require.NotContains(t, b.err.String(), "is ready")
	})
	t.Run("at its making", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.parts.newServer = func(context.Context, *config.Config, *slog.Logger, *telemetry.Tail, string, string) (server, error) {
			return nil, fmt.Errorf("open: %w", database.ErrLocked)
		}
		require.Equal(t, exitFailed, b.run([]string{"serve"}))
		require.Contains(t, b.err.String(), "Only one process may use a data directory")
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		s := &fakeServer{done: make(chan error, 1)}
		s.done <- errors.New("the roof is on fire")
		require.Equal(t, exitFailed, b.withServer(s).run([]string{"serve"}))
		require.Equal(t, 1, s.stops())
		require.Contains(t, b.err.String(), "cannot go on: the roof is on fire")
	})
	t.Run("because of its settings", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "SELFLINK_LISTEN=0.0.0.0:80", "JWT_ACCESS_MINUTES=x")
		require.Equal(t, exitFailed, b.run([]string{"serve"}))
		require.Contains(t, b.err.String(), "2 problems")
		require.Contains(t, b.err.String(), "ALLOWED_HOSTS")
		require.Contains(t, b.err.String(), "JWT_ACCESS_MINUTES")
		require.Contains(t, b.err.String(), "selflink config check")
		require.NoDirExists(t, b.data)
	})
	t.Run("at its end", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		s := &fakeServer{done: make(chan error, 1), stop: func(context.Context) error { return errors.New("a connection was cut") }}
		s.done <- errors.New("over")
		require.Equal(t, exitFailed, b.withServer(s).run([]string{"serve"}))
		require.Contains(t, b.err.String(), "a connection was cut")
	})
}

func TestServeIsInterruptedAtItsStart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	starting := make(chan struct{})
	s := &fakeServer{start: func(ctx context.Context) error {
		close(starting)
		<-ctx.Done()
		return ctx.Err()
	}}
	b.withServer(s)
	code := make(chan int, 1)
	go func() { code <- b.run([]string{"serve"}) }()
	<-starting
	b.signal <- os.Interrupt
	require.Equal(t, exitOK, <-code)
	require.Equal(t, 1, s.stops())
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"start", "stop"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			release, reached := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			hang := func(context.Context) error {
				close(reached)
				<-release
				return nil
			}
			s := &fakeServer{}
			if phase == "start" {
				s.start = hang
			} else {
				s.stop = hang
			}
			b.withServer(s)
			code := make(chan int, 1)
			go func() { code <- b.run([]string{"serve"}) }()
			if phase == "start" {
				<-reached
				b.signal <- os.Interrupt
			} else {
				b.signal <- os.Interrupt
				<-reached
			}
			b.signal <- os.Interrupt
			require.Equal(t, exitInterrupted, <-code)
		})
	}
}

func TestNotifyWithoutManager(t *testing.T) {
	t.Parallel()
	require.NoError(t, notifySystemd([]string{"A=b"}, "READY=1"))
	require.Error(t, notifySystemd([]string{"NOTIFY_SOCKET=/nowhere/n"}, "READY=1"))
	require.Equal(t, "2", lookup([]string{"A=1", "AB=3", "A=2"}, "A"))
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 0, memoryLimit(0, 64<<20))
	require.EqualValues(t, 4<<30, memoryLimit(8<<30, 64<<20))
	require.EqualValues(t, 320<<20, memoryLimit(512<<20, 64<<20), "never so little that Go collects all the time")

	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	require.EqualValues(t, 0, availableMemory(root))
	write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n")
	require.EqualValues(t, 8<<30, availableMemory(root))
	write("proc/self/cgroup", "0::/system.slice/selflink.service\n")
	write("sys/fs/cgroup/system.slice/selflink.service/memory.max", "max\n")
	require.EqualValues(t, 8<<30, availableMemory(root))
	write("sys/fs/cgroup/system.slice/memory.max", "1073741824\n")
	require.EqualValues(t, 1<<30, availableMemory(root), "the limit of a group above counts")
	write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")
	require.EqualValues(t, 512<<20, availableMemory(root))

	require.EqualValues(t, 0, setMemoryLimit(&config.Config{MemoryLimit: -1}))
}
