package diagnostics

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is the Get of a section with all metrics as Prometheus reads them.
func Metrics(from prometheus.Gatherer) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
		if err != nil {
			return nil, fmt.Errorf("read the metrics: %w", err)
		}
		page := page{head: http.Header{}, status: http.StatusOK}
		promhttp.HandlerFor(from, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true}).ServeHTTP(&page, req)
		if page.status != http.StatusOK {
			return nil, fmt.Errorf("read the metrics: %s", bytes.TrimSpace(page.text.Bytes()))
		}
		return page.text.Bytes(), nil
	}
}

// page is a response that is kept.
type page struct {
	head   http.Header
	status int
	text   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (p *page) Header() http.Header { return p.head }

// Write implements [http.ResponseWriter].
func (p *page) Write(b []byte) (int, error) { return p.text.Write(b) }

// WriteHeader implements [http.ResponseWriter].
func (p *page) WriteHeader(status int) { p.status = status }
