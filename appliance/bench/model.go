package main

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// pacedModel speaks Ollama's streaming protocol: tokens pieces, one each
// interval, the first after one interval. It remembers when it sent the first
// piece of each prompt, on the clock of the client.
//
// It shares the cores with the server that is measured, so it is no more than
// a model has to be: one goroutine writes all pieces when they are due, and
// what it writes is prepared.
type pacedModel struct {
	tokens   int
	interval time.Duration
	addr     string
	head     []byte   // of a response, with the first piece
	pieces   [][]byte // the others, the last with the end

	wake chan struct{} // something is due earlier than before

	mu    sync.Mutex
	first map[string]time.Time
	due   answers
}

// pacedAnswer is one answer under way.
type pacedAnswer struct {
	conn net.Conn
	key  string
	next int // piece
	at   time.Time
}

// answers is a heap by the time of the next piece.
type answers []*pacedAnswer

func (a answers) Len() int           { return len(a) }
func (a answers) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a answers) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *answers) Push(x any)        { *a = append(*a, x.(*pacedAnswer)) }
func (a *answers) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

// newPacedModel serves a paced model on loopback until stop is called.
func newPacedModel(tokens int, interval time.Duration) (m *pacedModel, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	m = &pacedModel{
		tokens: tokens, interval: interval, addr: listener.Addr().String(),
		wake: make(chan struct{}, 1), first: map[string]time.Time{},
	}
	for i := range tokens {
		m.pieces = append(m.pieces, chunk(fmt.Sprintf("{\"response\":\"word%d \",\"done\":false}\n", i)))
	}
	m.head = append([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"), m.pieces[0]...)
	end := chunk("{\"response\":\"\",\"done\":true}\n")
	m.pieces[tokens-1] = append(append(m.pieces[tokens-1], end...), "0\r\n\r\n"...)
	ctx, cancel := context.WithCancel(context.Background())
	go m.pace(ctx)
	go m.accept(listener)
	return m, func() {
		cancel()
		_ = listener.Close()
	}, nil
}

// chunk frames a piece of a body of unknown length.
func chunk(text string) []byte {
	return []byte(fmt.Sprintf("%x\r\n%s\r\n", len(text), text))
}

func (m *pacedModel) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go m.serve(conn)
	}
}

// serve reads the requests of one connection; the answers are paced.
func (m *pacedModel) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 2<<10)
	for {
		body, err := readRequest(reader)
		if err != nil {
			return
		}
		m.mu.Lock()
		heap.Push(&m.due, &pacedAnswer{conn: conn, key: string(marker(body)), at: time.Now().Add(m.interval)})
		earliest := m.due[0].conn == conn
		m.mu.Unlock()
		if earliest {
			select {
			case m.wake <- struct{}{}:
			default:
			}
		}
	}
}

// pace writes every piece when it is due.
func (m *pacedModel) pace(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		m.mu.Lock()
		for len(m.due) > 0 {
			a := m.due[0]
			now := time.Now()
			if wait = a.at.Sub(now); wait > 0 {
				break
			}
			text := m.pieces[a.next]
			if a.next == 0 {
				m.first[a.key] = now
				text = m.head
			}
			a.next++
			a.at = a.at.Add(m.interval)
			if _, err := a.conn.Write(text); err != nil || a.next == m.tokens {
				heap.Pop(&m.due)
			} else {
				heap.Fix(&m.due, 0)
			}
		}
		if len(m.due) == 0 {
			wait = time.Hour
		}
		m.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
	}
}

// sent is when the first piece of a prompt was.
func (m *pacedModel) sent(key string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first[key]
}

// readRequest reads a request with a Content-Length and gives its body, which
// is valid until the next read.
func readRequest(r *bufio.Reader) ([]byte, error) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 && !first {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, errors.New("a request without a length")
	}
	if length > r.Size() {
		// Longer than the buffer: the name of the question is at its end.
		if _, err := r.Discard(length - r.Size()); err != nil {
			return nil, err
		}
		length = r.Size()
	}
	body, err := r.Peek(length)
	if err != nil {
		return nil, err
	}
	_, err = r.Discard(length)
	return body, err
}

// marker finds the bench's own name of a question in a prompt.
func marker(prompt []byte) []byte {
	i := bytes.LastIndex(prompt, []byte("stream-"))
	if i < 0 {
		return nil
	}
	end := i + len("stream-")
	for end < len(prompt) && prompt[end] >= '0' && prompt[end] <= '9' {
		end++
	}
	return prompt[i:end]
}
