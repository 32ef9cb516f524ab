package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// short is a listener of a machine that has no descriptor left for a while, and
// breaks when told.
type short struct {
	net.Listener
	lacks  atomic.Int32
	broken chan struct{}
}

func (s *short) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	select {
	case <-s.broken:
		if err == nil {
			_ = conn.Close()
		}
		return nil, errors.New("the network is gone")
	default:
	}
	if err == nil && s.lacks.Add(-1) >= 0 {
		_ = conn.Close()
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return conn, err
}

func TestShortageOfDescriptorsPasses(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	a, err := New(Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &short{Listener: ln, broken: make(chan struct{})}
	s.lacks.Store(3)
	a.serveOn(s)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	get := func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+"/health", nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		require.Equal(t, 200, response.StatusCode)
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	for range 3 {
		require.Error(t, get())
	}
	require.NoError(t, get(), "the listener goes on")

	close(s.broken)
	require.Error(t, get())
	select {
	case err := <-a.Failed():
		require.ErrorContains(t, err, "the network is gone")
		require.ErrorContains(t, err, ln.Addr().String())
	case <-time.After(time.Minute):
		t.Fatal("nobody is told that a listener ended")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, a.Stop(ctx))
	require.Empty(t, a.Failed(), "Stop is no failure")
	require.Equal(t, 1, strings.Count(log.String(), "no connection can be accepted"), "once, not at each attempt")
}
