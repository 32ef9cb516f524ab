package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// pacedModel speaks Ollama's streaming protocol: tokens pieces, one each
// interval, the first after one interval. It remembers when it sent the first
// piece of each prompt, on the clock of the client.
type pacedModel struct {
	tokens   int
	interval time.Duration
	url      string

	mu    sync.Mutex
	first map[string]time.Time
}

// newPacedModel serves a paced model on loopback until stop is called.
func newPacedModel(tokens int, interval time.Duration) (m *pacedModel, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	m = &pacedModel{tokens: tokens, interval: interval, url: "http://" + listener.Addr().String(), first: map[string]time.Time{}}
	server := &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return m, func() { _ = server.Close() }, nil
}

func (m *pacedModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Prompt string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := marker(body.Prompt)
	begin := time.Now()
	flusher := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for i := range m.tokens {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Until(begin.Add(time.Duration(i+1) * m.interval))):
		}
		if i == 0 {
			m.mu.Lock()
			m.first[key] = time.Now()
			m.mu.Unlock()
		}
		fmt.Fprintf(w, "{\"response\":\"word%d \",\"done\":false}\n", i)
		_ = flusher.Flush()
	}
	fmt.Fprintln(w, `{"response":"","done":true}`)
}

// marker finds the bench's own name of a question in a prompt.
func marker(prompt string) string {
	i := strings.LastIndex(prompt, "stream-")
	if i < 0 {
		return ""
	}
	end := i + len("stream-")
	for end < len(prompt) && prompt[end] >= '0' && prompt[end] <= '9' {
		end++
	}
	return prompt[i:end]
}

// streamResult is what n concurrent streams saw.
type streamResult struct {
	complete           int
	firstP50, firstP99 time.Duration // after the model's own first token
	askedP50, askedP99 time.Duration // until the model was asked and sent its first
	ratioP99           float64       // total time by the ideal
}

// runStreams opens one stream for each token, all within spread, and reads all
// to the end. round makes the questions differ from those of other rounds.
func runStreams(addr string, tokens []string, model *pacedModel, round int, spread time.Duration) (streamResult, error) {
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		firsts []time.Duration
		asked  []time.Duration
		ratios []float64
		fail   firstError
	)
	ideal := time.Duration(model.tokens) * model.interval
	for i, token := range tokens {
		wait.Go(func() {
			key := fmt.Sprintf("stream-%d", round*len(tokens)+i)
			time.Sleep(spread * time.Duration(i) / time.Duration(len(tokens)))
			begin := time.Now()
			first, text, err := readStream(addr, key, token)
			if err != nil {
				fail.set(err)
				return
			}
			total := time.Since(begin)
			if want := model.tokens; strings.Count(text, "word") != want {
				fail.set(fmt.Errorf("%s: %d of %d tokens", key, strings.Count(text, "word"), want))
				return
			}
			model.mu.Lock()
			sent := model.first[key]
			model.mu.Unlock()
			mu.Lock()
			defer mu.Unlock()
			firsts = append(firsts, first.Sub(sent))
			asked = append(asked, sent.Sub(begin)-model.interval)
			ratios = append(ratios, float64(total)/float64(ideal))
		})
	}
	wait.Wait()
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

// readStream reads one mentor stream and returns when its first token came
// and the whole text.
func readStream(addr, question, token string) (first time.Time, text string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return first, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return first, "", err
	}
	if _, err := conn.Write(request("GET", "/api/v1/mentor/stream/?message="+question, token, "")); err != nil {
		return first, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return first, "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		return first, "", fmt.Errorf("stream: %s %s", response.Status, body)
	}
	var whole strings.Builder
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct{ Event, Delta, Detail string }
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return first, "", err
		}
		switch event.Event {
		case "token":
			if first.IsZero() {
				first = time.Now()
			}
			whole.WriteString(event.Delta)
		case "error":
			return first, "", fmt.Errorf("stream: %s", event.Detail)
		case "end":
			return first, whole.String(), nil
		}
	}
	return first, "", fmt.Errorf("stream broke off after %q: %w", whole.String(), lines.Err())
}
