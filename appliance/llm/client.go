package llm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/health"
)

// Names of providers.
const (
	Mock   = "mock"
	Ollama = "ollama"
	OpenAI = "openai"
)

const (
	// DefaultTimeout bounds a whole generation (contract 02 §6).
	DefaultTimeout = 120 * time.Second
	// DefaultConnectTimeout bounds the way to the provider, TLS included. A
	// model on the same machine or network answers in milliseconds.
	DefaultConnectTimeout = 5 * time.Second
	// DefaultIdleTimeout bounds the silence between two pieces. The first
	// piece has the whole timeout: a cold model is loaded from disk first.
	DefaultIdleTimeout = 30 * time.Second
	// DefaultMaxAnswer is the longest answer in bytes. The mentor keeps 8000
	// characters; more than this is a model that went wild.
	DefaultMaxAnswer = 128 << 10

	// maxLine is the longest line of a response in bytes. The longest honest
	// one is the last of a generation, which may carry the whole answer.
	maxLine = 1 << 20
	// maxResponse is the most that is read of one response, in bytes. A token
	// of four bytes comes in a frame of about 200.
	maxResponse = 16 << 20
)

// Options choose and bound a model. Zero values mean the default.
type Options struct {
	// Provider is Mock, Ollama or OpenAI. Empty: Ollama when BaseURL or
	// OllamaHost is set, else Mock.
	Provider string
	// BaseURL is where the provider is reached. With Ollama it goes before
	// OllamaHost. With OpenAI it names a compatible server, asked through
	// /chat/completions; /v1 is added when the address has no path.
	BaseURL    string
	OllamaHost string // http://localhost:11434
	Model      string // "llama3.2:1b" for Ollama, "gpt-4o-mini" for OpenAI
	APIKey     string // of OpenAI; a Prompt's own goes before it

	Timeout        time.Duration // of a generation (DefaultTimeout)
	ConnectTimeout time.Duration // DefaultConnectTimeout
	IdleTimeout    time.Duration // between two pieces (DefaultIdleTimeout)
	MaxAnswer      int           // bytes (DefaultMaxAnswer)

	MockText  string        // what the mock says (a fixed sentence)
	MockDelay time.Duration // before each of the mock's words (none)

	Logger  *slog.Logger          // nil: discarded
	Metrics prometheus.Registerer // nil: not registered
	Health  *health.Registry      // receives the check "llm"; nil: not registered
}

// provider speaks one protocol. Its errors wrap ErrModelDown, except those of
// emit and of ctx. It need not watch the clock.
type provider interface {
	generate(ctx context.Context, p Prompt, emit func(piece string) error) (Usage, error)
}

// Client is a [Model] made from [Options].
type Client struct {
	name      string
	provider  provider
	transport *http.Transport // nil for the mock
	timeout   time.Duration
	idle      time.Duration
	maxAnswer int
	logger    *slog.Logger
	metrics   *metrics
	record    record
	tally     tally
	about     About
}

var _ Model = (*Client)(nil)

// New makes a model. It does not reach out to it.
func New(o Options) (*Client, error) {
	c := &Client{
		name:      strings.ToLower(strings.TrimSpace(o.Provider)),
		timeout:   orDuration(o.Timeout, DefaultTimeout),
		idle:      orDuration(o.IdleTimeout, DefaultIdleTimeout),
		maxAnswer: o.MaxAnswer,
		logger:    o.Logger,
	}
	if c.name == "" {
		c.name = Mock
		if o.BaseURL != "" || o.OllamaHost != "" {
			c.name = Ollama
		}
	}
	if c.maxAnswer <= 0 {
		c.maxAnswer = DefaultMaxAnswer
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.logger = c.logger.With("component", "llm")

	switch c.name {
	case Mock:
		c.provider = newMock(o.MockText, o.MockDelay)
		c.about.Model = Mock
	case Ollama:
		base, err := baseURL(first(o.BaseURL, o.OllamaHost, "http://localhost:11434"))
		if err != nil {
			return nil, err
		}
		c.transport = newTransport(orDuration(o.ConnectTimeout, DefaultConnectTimeout))
		c.provider = &ollama{
			base:  strings.TrimSuffix(base.String(), "/"),
			model: first(o.Model, "llama3.2:1b"),
			http:  newHTTP(c.transport),
		}
		c.about.Model, c.about.Endpoint = first(o.Model, "llama3.2:1b"), base.Host
	case OpenAI:
		p := &openAI{model: first(o.Model, "gpt-4o-mini"), key: o.APIKey, base: "https://api.openai.com/v1"}
		c.about.Model, c.about.Endpoint = p.model, "api.openai.com"
		if o.BaseURL != "" {
			base, err := baseURL(o.BaseURL)
			if err != nil {
				return nil, err
			}
			if strings.Trim(base.Path, "/") == "" {
				base = base.JoinPath("v1")
			}
			p.base, p.compatible = strings.TrimSuffix(base.String(), "/"), true
			c.about.Endpoint = base.Host
		}
		c.transport = newTransport(orDuration(o.ConnectTimeout, DefaultConnectTimeout))
		p.http = newHTTP(c.transport)
		c.provider = p
	default:
		return nil, fmt.Errorf("llm: unknown provider %q: choose mock, ollama or openai", o.Provider)
	}
	c.about.Provider = c.name
	var err error
	if c.metrics, err = newMetrics(o.Metrics, c.name); err != nil {
		return nil, err
	}
	if o.Health != nil {
		o.Health.Add(health.Check{
			Code: "llm", Title: "The language model fails",
			Impact: "Questions to the mentor are answered late, or with the text that says so.",
			Remedy: "Ask the model directly; see MENTOR_LLM_PROVIDER, MENTOR_LLM_BASE_URL and the key in: selflink config show",
			Run:    func(context.Context) error { return c.record.check(time.Now()) },
		})
	}
	return c, nil
}

// Close drops idle connections. The client may still be used.
func (c *Client) Close() error {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	return nil
}

// Provider gives the name of the provider in use.
func (c *Client) Provider() string { return c.name }

// Generate implements [Model].
func (c *Client) Generate(ctx context.Context, p Prompt, emit func(piece string) error) (Usage, error) {
	begin := time.Now()
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	overall := time.AfterFunc(c.timeout, func() {
		cancel(fmt.Errorf("%w: no complete answer within %s", ErrModelTimeout, c.timeout))
	})
	defer overall.Stop()
	g := newGeneration(emit, c.maxAnswer, c.idle, cancel)
	defer g.silence.Stop()

	usage, err := c.provider.generate(run, p, g.piece)
	err = g.verdict(ctx, run, err)
	if err == nil && g.size == 0 {
		err = fmt.Errorf("%w: the answer was empty", ErrModelDown)
	}
	outcome := reason(err, g.stopped)
	c.metrics.observe(outcome, time.Since(begin), g.firstAfter(begin), usage)
	switch {
	case err == nil:
		c.record.note(nil, time.Now())
		c.tally.answer(time.Now(), time.Since(begin), g.firstAfter(begin), usage.OrGuess(p, g.size))
	case outcome != reasonCancelled:
		c.record.note(err, time.Now())
		c.tally.failure(time.Now(), outcome, err, usage)
		c.logger.LogAttrs(ctx, slog.LevelWarn, "generation failed",
			slog.String("provider", c.name), slog.String("reason", outcome), slog.String("error", err.Error()),
			slog.Duration("after", time.Since(begin)))
	}
	return usage, err
}

// generation is the state of one Generate.
type generation struct {
	emit    func(string) error
	max     int
	idle    time.Duration
	silence *time.Timer

	size    int
	first   time.Time
	stopped error // what emit returned
}

// newGeneration arms its clock of silence with the first piece; cancel ends
// the generation when the clock has run out.
func newGeneration(emit func(string) error, most int, idle time.Duration, cancel func(error)) *generation {
	g := &generation{emit: emit, max: most, idle: idle}
	g.silence = time.AfterFunc(time.Hour, func() {
		cancel(fmt.Errorf("%w: no further piece within %s", ErrModelTimeout, idle))
	})
	g.silence.Stop()
	return g
}

// errTooLong ends a generation that went wild.
var errTooLong = fmt.Errorf("%w: the answer was too long", ErrModelDown)

// piece passes one piece on. The clock of silence does not run while the
// receiver is busy.
func (g *generation) piece(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "") // Postgres text cannot hold it
	}
	if s == "" {
		return nil
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if g.size == 0 {
		g.first = time.Now()
	}
	if g.size += len(s); g.size > g.max {
		return errTooLong
	}
	g.silence.Stop()
	if err := g.emit(s); err != nil {
		g.stopped = err
		return err
	}
	g.silence.Reset(g.idle)
	return nil
}

// verdict says why a generation ended. What ended it first counts: the
// receiver, the caller, the clock, then the provider.
func (g *generation) verdict(ctx, run context.Context, err error) error {
	switch {
	case g.stopped != nil:
		return g.stopped
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case run.Err() != nil:
		return context.Cause(run)
	case errors.Is(err, ErrModelDown):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrModelDown, err)
	}
}

func (g *generation) firstAfter(begin time.Time) time.Duration {
	if g.first.IsZero() {
		return 0
	}
	return g.first.Sub(begin)
}

// baseURL reads the address of a provider.
func baseURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "http://" + text // OLLAMA_HOST is often written without a scheme
	}
	u, err := url.Parse(text)
	// The text may carry a password, and so may the parser's error.
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("llm: the model's address is not an http:// or https:// URL")
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func orDuration(d, byDefault time.Duration) time.Duration {
	if d <= 0 {
		return byDefault
	}
	return d
}
