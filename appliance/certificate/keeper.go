package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"selflink/appliance/health"
)

const (
	// DefaultEvery is how often the files are looked at. Two stats cost
	// microseconds, and no watch has to follow links and mounts.
	DefaultEvery = 5 * time.Second

	// warnLeft is when health begins to speak of a certificate that ends: those
	// of Let's Encrypt are renewed when a month is left.
	warnLeft = 14 * 24 * time.Hour
)

// Options of a [Keeper]. The two paths are required.
type Options struct {
	CertFile string // PEM: the certificate, then those between it and the root
	KeyFile  string // PEM
	Every    time.Duration
	Health   *health.Registry // nil: nobody is told
	Logger   *slog.Logger
	Now      func() time.Time // time.Now by default
}

// Keeper holds the pair that is in force. It is safe for concurrent use.
type Keeper struct {
	opts Options
	log  *slog.Logger
	pair atomic.Pointer[Pair]

	mu    sync.Mutex
	seen  [2]stamp // of the files as they were looked at last
	fault error    // why what is on disk is not in force
	quit  chan struct{}
	done  chan struct{}
}

// stamp recognises a file without reading it.
type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
}

// New loads the pair; a pair that does not work is an [*Error].
func New(o Options) (*Keeper, error) {
	if o.Every <= 0 {
		o.Every = DefaultEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{opts: o, log: o.Logger.With("component", "tls")}
	k.seen = k.stamps() // before reading: what changes in between is read again
	pair, err := Load(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, err
	}
	k.pair.Store(pair)
	if o.Health != nil {
		k.registerChecks(o.Health)
	}
	return k, nil
}

// Config is how a server speaks TLS with the pair in force: TLS 1.2 and later
// with Go's choice of ciphers, and HTTP/1.1.
func (k *Keeper) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.pair.Load().TLS, nil
		},
	}
}

// Pair is the one in force.
func (k *Keeper) Pair() *Pair { return k.pair.Load() }

// Start begins to watch the files. A second call does nothing.
func (k *Keeper) Start(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.quit != nil {
		return nil
	}
	k.quit, k.done = make(chan struct{}), make(chan struct{})
	p := k.pair.Load()
	k.log.Info("serving over TLS", "names", p.names(), "serial", p.Serial(), "expires", p.Leaf.NotAfter.UTC().Format(time.RFC3339))
	go k.watch(k.quit, k.done)
	return nil
}

// Stop ends the watching; the pair stays in force. A second call, or one
// before Start, does nothing.
func (k *Keeper) Stop(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.quit == nil {
		return nil
	}
	select {
	case <-k.done:
		return nil
	default:
	}
	close(k.quit)
	done := k.done
	k.mu.Unlock()
	<-done
	k.mu.Lock()
	return nil
}

// watch looks at the files until quit.
func (k *Keeper) watch(quit, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(k.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			k.look()
		}
	}
}

// look takes a new pair over. Files that are as they were are not read, unless
// they did not work: the other half of a pair may still be on its way.
func (k *Keeper) look() {
	now := k.stamps()
	k.mu.Lock()
	same := now == k.seen && k.fault == nil
	told := k.fault
	k.mu.Unlock()
	if same {
		return
	}
	pair, err := Load(k.opts.CertFile, k.opts.KeyFile)
	k.mu.Lock()
	k.seen, k.fault = now, err
	k.mu.Unlock()
	if err != nil {
		if told == nil || told.Error() != err.Error() {
			k.log.Warn("the new certificate is not taken; the old one stays in force", "error", err)
		}
		return
	}
	if old := k.pair.Swap(pair); old.sum != pair.sum {
		k.log.Info("a new certificate is in force", "names", pair.names(), "serial", pair.Serial(), "expires", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	} else if told != nil {
		k.log.Info("the certificate's files are in order again")
	}
}

// stamps describe both files as they are now; one that is not there has none.
func (k *Keeper) stamps() (out [2]stamp) {
	for i, path := range []string{k.opts.CertFile, k.opts.KeyFile} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		out[i] = stamp{size: info.Size(), modified: info.ModTime()}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			out[i].device, out[i].inode = st.Dev, st.Ino
		}
	}
	return out
}

// registerChecks tells health what may be wrong with the pair. All three are
// for this machine alone: whoever connects sees the certificate, but need not
// be told that nobody renews it.
func (k *Keeper) registerChecks(r *health.Registry) {
	const renew = "Renew the certificate and put it, with its key, where TLS_CERT_FILE and TLS_KEY_FILE point to; it is taken over within seconds."
	r.Add(health.Check{
		Code: "tls.reload", Title: "A new certificate cannot be used", Private: true,
		Impact: "The old one stays in force until it expires.",
		Remedy: "Put right the file that is named; it is taken over within seconds. Check with: selflink config check",
		Run: func(context.Context) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.fault
		},
	})
	r.Add(health.Check{
		Code: "tls.expired", Title: "The certificate is not valid", Severity: health.High, Private: true,
		Impact: "Browsers and apps refuse to connect.", Remedy: renew,
		Run: func(context.Context) error {
			p, now := k.pair.Load(), k.opts.Now()
			switch {
			case p.left(now) <= 0:
				return fmt.Errorf("the certificate for %s expired on %s", p.names(), p.Leaf.NotAfter.UTC().Format(time.DateTime))
			case now.Before(p.Leaf.NotBefore):
				return fmt.Errorf("the certificate for %s is valid only from %s; is this machine's clock right?", p.names(), p.Leaf.NotBefore.UTC().Format(time.DateTime))
			}
			return nil
		},
	})
	r.Add(health.Check{
		Code: "tls.expires", Title: "The certificate expires soon", Private: true, DependsOn: []string{"tls.expired"},
		Impact: "Then browsers and apps refuse to connect.", Remedy: renew,
		Run: func(context.Context) error {
			p := k.pair.Load()
			if left := p.left(k.opts.Now()); left < warnLeft {
				return errors.New("the certificate for " + p.names() + " expires on " + p.Leaf.NotAfter.UTC().Format(time.DateTime))
			}
			return nil
		},
	})
}
