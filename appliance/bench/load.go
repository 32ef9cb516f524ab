package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// ioTimeout bounds one exchange of the load client: a hung server ends the run
// instead of hanging it.
const ioTimeout = 15 * time.Second

// result is what one closed-loop run saw.
type result struct {
	requests int
	failures int
	elapsed  time.Duration
	p50, p99 time.Duration
}

func (r result) rate() float64 { return float64(r.requests) / r.elapsed.Seconds() }

// closedLoop sends requests over conns keep-alive connections for d, each
// connection waiting for its answer before the next request, after a warm-up
// of a fifth of d. next gives the whole request of one connection's turn.
//
// The client writes prepared bytes and reads only status and length, because
// it shares the cores with the server that it measures.
func closedLoop(addr string, conns int, d time.Duration, want int, next func(conn, turn int) []byte) (result, error) {
	var (
		wait     sync.WaitGroup
		measured atomic.Bool
		failures atomic.Int64
		first    firstError
		times    = make([][]time.Duration, conns)
	)
	begin := time.Now()
	warm := begin.Add(d / 5)
	end := warm.Add(d)
	for i := range conns {
		wait.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				first.set(err)
				return
			}
			defer conn.Close()
			reader := bufio.NewReaderSize(conn, 8<<10)
			for turn := 0; ; turn++ {
				now := time.Now()
				if now.After(end) {
					return
				}
				if turn%64 == 0 {
					if err := conn.SetDeadline(now.Add(ioTimeout)); err != nil {
						first.set(err)
						return
					}
				}
				if _, err := conn.Write(next(i, turn)); err != nil {
					first.set(err)
					return
				}
				status, body, err := readResponse(reader)
				if err != nil {
					first.set(err)
					return
				}
				if now.Before(warm) {
					continue
				}
				measured.Store(true)
				if status != want {
					failures.Add(1)
					first.set(fmt.Errorf("status %d, wanted %d: %.200s", status, want, body))
				}
				times[i] = append(times[i], time.Since(now))
			}
		})
	}
	wait.Wait()
	all := slices.Concat(times...)
	if len(all) == 0 || !measured.Load() {
		return result{}, fmt.Errorf("no request was answered: %w", first.get())
	}
	slices.Sort(all)
	r := result{requests: len(all), failures: int(failures.Load()), elapsed: d, p50: percentile(all, 50), p99: percentile(all, 99)}
	if r.failures > 0 {
		return r, fmt.Errorf("%d of %d requests failed, the first: %w", r.failures, r.requests, first.get())
	}
	return r, nil
}

// percentile of sorted values.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// firstError keeps the first error of many goroutines.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

var (
	contentLength = []byte("content-length:")
	errResponse   = errors.New("unreadable response")
)

// readResponse reads one response with a Content-Length and returns its status
// and body; the body is valid until the next read.
func readResponse(r *bufio.Reader) (int, []byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, errResponse
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, errResponse
	}
	length := 0
	for {
		line, err = r.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, nil, errResponse
			}
		}
	}
	if length <= r.Size() {
		body, err := r.Peek(length)
		if err != nil {
			return 0, nil, err
		}
		_, err = r.Discard(length)
		return status, body, err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}

// request is a whole HTTP/1.1 request.
func request(method, path, token, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n", method, path)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}
