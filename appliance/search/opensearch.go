package search

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/opensearch-project/opensearch-go/v4"
)

const (
	// attemptTime bounds one request to the server and retries how often it is
	// repeated when it cannot be reached or is overloaded (contract 04 §11).
	attemptTime = 10 * time.Second
	retries     = 2

	// retryWait is the wait before the first repetition; the second waits
	// twice as long.
	retryWait = 100 * time.Millisecond

	// maxAnswer bounds what is read of an answer, in bytes. The largest that is
	// expected, to a bulk of documents that all failed, has some 200 KiB.
	maxAnswer = 4 << 20
)

// Errors of [OpenSearch].
var (
	// ErrServer means that the server cannot be reached, is overloaded or
	// answers what makes no sense.
	ErrServer = errors.New("search: OpenSearch does not answer as it should")
	// ErrNoIndex means that what was asked of has not been built, or not to the
	// end: selflink search reindex.
	ErrNoIndex = errors.New("search: there is no index in OpenSearch yet")
	// ErrConflict means that of a document something newer is there already.
	ErrConflict = errors.New("search: OpenSearch has a newer document")
	// ErrRefused means that the server understood and refused, which repeating
	// does not mend: the credentials or a right are wrong, or a document.
	ErrRefused = errors.New("search: OpenSearch refuses")
)

// OpenSearchOptions say where the server is. Zero values mean what stands in
// parentheses.
type OpenSearchOptions struct {
	Address  string // scheme://host:port; required
	Username string
	Password string // (no credentials are sent)
	CA       []byte // PEM certificates to trust with https (the system's)
	Alias    string // name of the index, "users_v1"; required
	Mapping  string // JSON of settings and mappings of new indices; required
	Fields   []string
	// Attempt bounds one request (10 s).
	Attempt time.Duration
}

// OpenSearch is one index of an OpenSearch server. The index that is searched
// is behind an alias, so that another can be built beside it and take its place
// in one step; while one is being built, a second alias leads to it. It is safe
// for concurrent use.
type OpenSearch struct {
	o         OpenSearchOptions
	client    *opensearch.Client
	transport *http.Transport
}

var _ Engine = (*OpenSearch)(nil)

// NewOpenSearch prepares the client; the server need not be there.
// [OpenSearch.Close] ends it.
func NewOpenSearch(o OpenSearchOptions) (*OpenSearch, error) {
	u, err := url.Parse(o.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, errors.New("search: the address of OpenSearch is not a URL")
	}
	if o.Alias == "" || !json.Valid([]byte(o.Mapping)) {
		return nil, errors.New("search: OpenSearch needs the name and the mapping of an index")
	}
	if o.Attempt <= 0 {
		o.Attempt = attemptTime
	}
	s := &OpenSearch{o: o, transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: o.Attempt / 2, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   o.Attempt / 2,
		ResponseHeaderTimeout: o.Attempt,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true, // answers are small; what is small cannot unfold
	}}
	if len(o.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("search: no certificate is in the file of authorities")
		}
		s.transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	config := opensearch.Config{
		Addresses: []string{o.Address}, MaxRetries: retries, RequestTimeout: o.Attempt,
		RetryOnStatus: []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
		RetryBackoff:  func(attempt int) time.Duration { return time.Duration(attempt) * retryWait },
		Transport:     bounded{s.transport},
		// One address is all there is to know: nothing is asked for behind it.
		DiscoverNodesOnStart: new(bool), HealthCheckMaxRetries: -1, MaxRetryClusterHealth: -1,
	}
	if o.Password != "" {
		config.Username, config.Password = o.Username, o.Password
	}
	// What the client does by itself, such as polling the load of all nodes, is
	// for clusters that it balances over. It ends with this context: at once.
	var cancel context.CancelFunc
	config.Context, cancel = context.WithCancel(context.Background())
	cancel()
	if s.client, err = opensearch.NewClient(config); err != nil {
		return nil, fmt.Errorf("search: make the client of OpenSearch: %w", err)
	}
	return s, nil
}

// Close ends what the client keeps open. Closing twice does nothing.
func (s *OpenSearch) Close() error {
	s.transport.CloseIdleConnections()
	return s.client.Close()
}

// Name implements [Engine].
func (s *OpenSearch) Name() string { return "opensearch" }

// Address is where the server is, without credentials.
func (s *OpenSearch) Address() string { return s.o.Address }

// Alias is the name of the index that is searched.
func (s *OpenSearch) Alias() string { return s.o.Alias }

// bounded cuts bodies off that are larger than any answer should be, also of
// those that the client reads by itself before it repeats a request.
type bounded struct{ inner http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.inner.RoundTrip(r)
	if err == nil && res.Body != nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer+1), res.Body}
	}
	return res, err //nolint:wrapcheck // the client looks at it
}

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
)

// answer is what the server said.
type answer struct {
	status int
	body   []byte
}

// ask sends one request. An answer of any status is no error, but for those
// that say that the server cannot answer now or does not know us.
func (s *OpenSearch) ask(ctx context.Context, method, path, contentType string, body []byte) (answer, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, path, content)
	if err != nil {
		return answer{}, fmt.Errorf("search: make the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", typeJSON)
	res, err := s.client.Stream(req)
	if res != nil && res.Body != nil {
		defer func() { _ = res.Body.Close() }() //nolint:errcheck // it was read
	}
	if err != nil {
		return answer{}, s.unreachable(ctx, err)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, s.unreachable(ctx, err)
	}
	if len(data) > maxAnswer {
		return answer{}, fmt.Errorf("%w: the answer is larger than %d bytes", ErrServer, maxAnswer)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return answer{}, fmt.Errorf("%w the credentials (status 401)", ErrRefused)
	case res.StatusCode == http.StatusForbidden:
		return answer{}, fmt.Errorf("%w: the user has no right to do this (status 403)", ErrRefused)
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return answer{}, fmt.Errorf("%w: status %d", ErrServer, res.StatusCode)
	}
	return answer{res.StatusCode, data}, nil
}

// unreachable says why there is no answer. The caller's own end is told as
// such.
func (s *OpenSearch) unreachable(ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrServer, context.Cause(ctx))
	case errors.As(err, &op):
		err = op
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %s", s.o.Attempt)
	}
	return fmt.Errorf("%w: %w", ErrServer, err)
}

// refused makes an error of an answer that is none of success.
func refused(a answer) error {
	return fmt.Errorf("%w: status %d, %s", ErrRefused, a.status, reasonOf(a.body))
}
