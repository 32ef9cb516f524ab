package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// streams opens 500 mentor streams at once on a paced model, and as many
// readers of the model itself beside them.
func (b *bench) streams(ctx context.Context) error {
	const streams = 500
	model, stop, err := newPacedModel(20, 50*time.Millisecond)
	if err != nil {
		return err
	}
	defer stop()
	s, err := newServer(b.bin, "MENTOR_LLM_PROVIDER=ollama", "MENTOR_LLM_BASE_URL=http://"+model.addr)
	if err != nil {
		return err
	}
	defer func() { _ = s.remove() }()
	if _, err := s.start(ctx); err != nil {
		return err
	}
	defer func() { _ = s.stop() }()
	tokens := make([]string, streams)
	for i := range tokens {
		if tokens[i], err = s.register(fmt.Sprintf("stream%d", i)); err != nil {
			return err
		}
	}
	// The memory of five hundred password hashes goes back to the machine in
	// the background; that is no part of a question.
	time.Sleep(hashesGone)
	ofServer := stream{addr: s.addr, end: []byte(`"event": "end"`), request: func(i int, key string) []byte {
		return request("GET", "/api/v1/mentor/stream/?message="+key, tokens[i], "")
	}}
	ofModel := stream{addr: model.addr, end: []byte(`"done":true`), request: func(_ int, key string) []byte {
		return request("POST", "/api/generate", "", `{"model":"bench","prompt":"`+key+`","stream":true}`)
	}}
	for round, kind := range []struct {
		what   string
		stream stream
		spread time.Duration
	}{
		{"of the model itself, all at once", ofModel, 0},
		{"all at once, everyone's first question", ofServer, 0},
		{"all at once, in a conversation", ofServer, 0},
		{"opened within 1 s, in a conversation", ofServer, time.Second},
	} {
		before, err := s.cpu()
		if err != nil {
			return err
		}
		own := ownCPU()
		r, err := kind.stream.run(streams, model, round, kind.spread)
		if err != nil {
			return fmt.Errorf("%d of %d streams complete: %w", r.complete, streams, err)
		}
		own = ownCPU() - own
		after, err := s.cpu()
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%d streams, %s", streams, kind.what), fmt.Sprintf("%d complete", r.complete), 0, 0, "")
		row("  from opening until the model is asked", "", r.askedP50, r.askedP99, "")
		row("  first token after the model's", "", r.firstP50, r.firstP99, "")
		row("  total time by the ideal, p99", fmt.Sprintf("%.3f", r.ratioP99), 0, 0, "ideal 1.000")
		row("  cpu time of a stream", fmt.Sprintf("%.2f ms", float64((after-before).Microseconds())/1000/streams), 0, 0,
			fmt.Sprintf("of client and model %.2f ms", float64(own.Microseconds())/1000/streams))
	}
	return nil
}

// hashesGone is longer than the runtime takes to give that memory back.
const hashesGone = 3 * time.Second

// stream says how to open one and where it ends.
type stream struct {
	addr    string
	request func(i int, key string) []byte
	end     []byte // what the last event contains
}

// streamResult is what n concurrent streams saw.
type streamResult struct {
	complete           int
	firstP50, firstP99 time.Duration // after the model's own first token
	askedP50, askedP99 time.Duration // until the model was asked and sent its first
	ratioP99           float64       // total time by the ideal
}

// streamSize bounds what one stream sends, in bytes.
const streamSize = 8 << 10

// run opens n streams, all within spread, and reads all to the end. round
// makes the questions differ from those of other rounds.
func (s stream) run(n int, model *pacedModel, round int, spread time.Duration) (streamResult, error) {
	var (
		wait   sync.WaitGroup
		fail   firstError
		keys   = make([]string, n)
		seen   = make([]streamTimes, n)
		asks   = make([][]byte, n)
		buffer = make([]byte, n*streamSize)
		open   = make(chan struct{})
	)
	for i := range buffer {
		buffer[i] = 1 // the memory is there before the clock runs
	}
	for i := range n {
		keys[i] = fmt.Sprintf("stream-%d", round*n+i)
		asks[i] = s.request(i, keys[i])
		wait.Go(func() {
			<-open
			if spread > 0 {
				time.Sleep(spread * time.Duration(i) / time.Duration(n))
			}
			var err error
			if seen[i], err = s.read(asks[i], model.tokens, buffer[i*streamSize:(i+1)*streamSize]); err != nil {
				fail.set(fmt.Errorf("%s: %w", keys[i], err))
			}
		})
	}
	close(open)
	wait.Wait()
	var (
		firsts, asked []time.Duration
		ratios        []float64
		ideal         = time.Duration(model.tokens) * model.interval
	)
	for i, t := range seen {
		if t.end.IsZero() {
			continue
		}
		sent := model.sent(keys[i])
		firsts = append(firsts, t.first.Sub(sent))
		asked = append(asked, sent.Sub(t.begin)-model.interval)
		ratios = append(ratios, float64(t.end.Sub(t.begin))/float64(ideal))
	}
	if len(firsts) == 0 {
		return streamResult{}, fmt.Errorf("no stream completed: %w", fail.get())
	}
	slices.Sort(firsts)
	slices.Sort(asked)
	slices.Sort(ratios)
	return streamResult{
		complete: len(firsts),
		firstP50: percentile(firsts, 50), firstP99: percentile(firsts, 99),
		askedP50: percentile(asked, 50), askedP99: percentile(asked, 99),
		ratioP99: ratios[min(len(ratios)-1, len(ratios)*99/100)],
	}, fail.get()
}

// streamTimes are the moments of one stream; end is zero when it broke off.
type streamTimes struct{ begin, first, end time.Time }

// read reads one stream of want tokens into buf.
//
// It keeps what comes and looks only for what it needs, because it shares the
// cores with the server that it measures.
func (s stream) read(ask []byte, want int, buf []byte) (t streamTimes, err error) {
	begin := time.Now()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return t, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(begin.Add(time.Minute)); err != nil {
		return t, err
	}
	if _, err := conn.Write(ask); err != nil {
		return t, err
	}
	var first time.Time
	for n := 0; ; {
		if n == len(buf) {
			return t, errors.New("the stream is longer than expected")
		}
		more, err := conn.Read(buf[n:])
		n += more
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return t, fmt.Errorf("stream broke off after %q: %w", buf[:n], err)
		}
		now := time.Now()
		if first.IsZero() && bytes.Contains(buf[:n], []byte("word")) {
			first = now
		}
		// What ends a stream may come in two parts.
		if !bytes.Contains(buf[max(0, n-more-len(s.end)):n], s.end) {
			continue
		}
		if got := bytes.Count(buf[:n], []byte("word")); got != want || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) {
			return t, fmt.Errorf("%d of %d tokens: %q", got, want, buf[:n])
		}
		return streamTimes{begin, first, now}, nil
	}
}
