package httpapi

import (
	"context"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"selflink/appliance/auth"
	"selflink/appliance/health"
	"selflink/appliance/trace"
)

// Defaults of [Options].
const (
	// DefaultBodyLimit is the largest request body in bytes. Operations that
	// take uploads may raise it for themselves.
	DefaultBodyLimit = 1 << 20
	// DefaultHeaderLimit is the largest request line with all headers in
	// bytes. A question of 4096 Georgian characters in the query of the
	// mentor's stream takes 36 KiB. Connections only touch what they use.
	DefaultHeaderLimit = 48 << 10
	// DefaultReadTimeout bounds the arrival of one request.
	DefaultReadTimeout = 30 * time.Second
	// DefaultWriteTimeout bounds each write of a response, streams included.
	DefaultWriteTimeout = 30 * time.Second
	// DefaultIdleTimeout closes a connection that asks nothing.
	DefaultIdleTimeout = 75 * time.Second
	// DefaultRequestTimeout is the deadline of a handler's context.
	DefaultRequestTimeout = 30 * time.Second
)

// Authenticator says who calls. The accounts service implements it.
//
// Authenticate gets the whole Authorization header, which may be empty or of
// another scheme. It returns a principal without a UserID for a caller who
// brought no credentials, and an error for one who brought bad ones: an
// *[Error], or any error that implements [Refusal].
type Authenticator interface {
	Authenticate(ctx context.Context, authorization string) (auth.Principal, error)
}

// Refusal is how an authenticator's own error types name the 401 body of
// contract 00 §2 without knowing this package. When token is not empty the
// answer is the token_not_valid body with token as its inner message, else it
// is {"detail": detail, "code": code} with code left out when empty.
type Refusal interface {
	error
	Unauthorized() (detail, code, token string)
}

// Recorder is told of every request that has ended but for those of health and
// metrics; trace implements it. Ended is called on the request's own way: it
// neither blocks nor keeps r's Tally.
type Recorder interface {
	Ended(r trace.Request)
}

// Options configure [New]. Log is required, the zero value of everything else
// means the default named with it.
type Options struct {
	Listen []string // addresses, "host:port"; port 0 picks a free one
	Log    *slog.Logger
	// TLS is spoken on all of them; nil: plain HTTP. It chooses HTTP/1.1 alone,
	// and its certificate may change while connections are open.
	TLS *tls.Config
	// Socket is the path of a Unix socket to listen on as well, which only the
	// user of the process and root can open. Who comes by it has Info.Local and
	// may use any host name.
	Socket string
	// Metrics receives the collectors of this package, Gatherer is what
	// /metrics shows. Without them nothing is measured or shown.
	Metrics      prometheus.Registerer
	Gatherer     prometheus.Gatherer
	MetricsToken string // bearer token that may read /metrics from anywhere; empty: loopback only
	Health       *health.Registry
	Auth         Authenticator // without one every caller is anonymous
	Requests     Recorder      // without one nobody is told of requests, and their statements are not counted
	Docs         fs.FS         // files of Swagger UI; without them /api/docs/ says so
	Title        string        // of the OpenAPI document
	Version      string

	AllowedHosts   []string // "*" or empty: any; ".example.com": with subdomains
	TrustedProxies []string // addresses or CIDR networks whose X-Forwarded-* count; "*": any peer
	CORSOrigins    []string // exact origins, "https://host"

	BodyLimit      int
	HeaderLimit    int
	ReadTimeout    time.Duration
	WriteTimeout   time.Duration
	IdleTimeout    time.Duration
	RequestTimeout time.Duration
	Heartbeat      time.Duration // longest silence of an event stream

	Limits Limits
	// Now is the clock of limits and durations, time.Now by default. Deadlines
	// follow the real one.
	Now func() time.Time
}

// Limits are the request limits of contract 00 §7. Rates are texts "N/period"
// of which only the first letter of the period counts (s, m, h, d); an empty
// rate or N of 0 is no limit.
type Limits struct {
	IP     string            // every request, by client address
	User   string            // by user id, or by address for anonymous callers
	Anon   string            // anonymous callers, by address
	Scopes map[string]string // by Operation.Throttle: "mentor", "astro"

	// WritesOff switches Operation.UserLimit off, for tests and benchmarks.
	WritesOff bool

	// Bursts switches [Burst] on; the counts are requests a second, 0 is no
	// limit.
	Bursts       bool
	AuthIP       int
	MentorUser   int
	MentorGlobal int

	// MaxKeys bounds the memory of the limits: callers that are remembered at
	// once per limit, 100 000 by default. Beyond it the longest unseen are
	// forgotten.
	MaxKeys int
}
