package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxIdle is how many connections are kept for the next generations: one for
// each of a crowd. A connection made is dearer than one kept, and what nobody
// uses is closed after a while.
const maxIdle = 512

// newTransport makes the connections of one provider.
func newTransport(connect time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: connect,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // a compressed stream arrives in lumps
	}
}

// newHTTP makes a client that follows no redirect: one could carry a key to
// another host.
func newHTTP(t *http.Transport) *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// statusError is a provider's refusal. The provider's own text is left out:
// some repeat the key or the prompt in it.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the provider answered with status %d", e.status)
}

// Unwrap tells whether another attempt can help.
func (e *statusError) Unwrap() error {
	switch {
	case e.status == http.StatusRequestTimeout, e.status == http.StatusTooManyRequests, e.status >= 500:
		return ErrModelDown
	default:
		return ErrModelRefused
	}
}

// post sends body as JSON and returns the response of a success.
func post(ctx context.Context, client *http.Client, address, accept, key string, body any) (io.ReadCloser, error) {
	encoded, err := encode(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(encoded))
	if err != nil {
		return nil, errors.New("llm: the model's address is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModelDown, plain(err))
	}
	if res.StatusCode != http.StatusOK {
		// A bounded rest is read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
		_ = res.Body.Close()
		return nil, &statusError{res.StatusCode}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxResponse), res.Body}, nil
}

// plain drops the request's address from an error of the HTTP client, and
// says nothing of a header that could not be sent, which may be a key.
func plain(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	var op *net.OpError
	switch {
	case errors.As(u.Err, &op), errors.Is(u.Err, context.Canceled), errors.Is(u.Err, io.EOF), errors.Is(u.Err, io.ErrUnexpectedEOF):
		return u.Err
	case u.Timeout():
		return errors.New("connection timed out")
	default:
		return errors.New("the request could not be sent")
	}
}

// encode is JSON without HTML escapes, which would only lengthen a prompt.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
