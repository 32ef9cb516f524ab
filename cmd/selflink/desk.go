package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"selflink/appliance"
	"selflink/appliance/config"
)

const (
	// deskTimeout bounds a question to the running server.
	deskTimeout = 30 * time.Second
	// maxDesk bounds its answer in bytes.
	maxDesk = 16 << 20
	// maxRefusal bounds the text of a refusal.
	maxRefusal = 64 << 10
)

// errNoServer means that the server of this data directory does not run, as far
// as its socket tells.
var errNoServer = errors.New("the appliance does not run")

// desk is the running server as an operator on its machine reaches it: by a
// socket that the appliance's own user and root alone can open.
type desk struct {
	client *http.Client
	path   string
}

func openDesk(cfg *config.Config) *desk {
	path := filepath.Join(cfg.DataDir, appliance.SocketName)
	return &desk{path: path, client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}}
}

// refusal is an answer that says no.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

// open sends one request and gives the answer's body, to be closed.
func (d *desk) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost/dashboard/api/"+path, reader)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := d.client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody answers on %s", errNoServer, d.path)
	case err != nil:
		return nil, fmt.Errorf("ask the server: %w", err)
	case response.StatusCode < 300:
		return response.Body, nil
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	var said struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Detail == "" {
		said.Detail = fmt.Sprintf("the server answered HTTP %d: %s", response.StatusCode, oneLine(string(raw), 200))
	}
	return nil, &refusal{response.StatusCode, said.Detail}
}

// ask sends one request and decodes the answer into out, unless that is nil.
func (d *desk) ask(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, deskTimeout)
	defer cancel()
	answer, err := d.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer, maxDesk)).Decode(out); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
