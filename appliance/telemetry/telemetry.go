// Package telemetry is what the appliance says about itself: its log and its
// registry of numbers.
//
// The log is JSON, a line per record (contract 00 §12). It cannot be made to
// carry a secret: attributes named like one are blanked wherever they are
// nested, and texts that look like one are masked in messages, errors and
// values of every kind.
package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options configure [NewLogger]. The zero value of a level is Info.
type Options struct {
	Out io.Writer // required; each record is one Write
	// Level is the least level of lines without a component and of the
	// components in MachineRoom.
	Level slog.Level
	// App is the least level of every other component.
	App slog.Level
	// Request is the least level of the component "http", which writes a line
	// per request.
	Request slog.Level
	// Hidden are texts that must never appear, such as the configured secrets.
	// Those shorter than eight bytes are left out: they would blot out half
	// the log.
	Hidden []string
	// Tail receives what Out receives; nil: nobody.
	Tail *Tail
}

// TextMask returns the function that masks secrets in running text as the
// log does, with hidden as in [Options]. It is safe for concurrent use.
func TextMask(hidden []string) func(text string) string { return newMasker(hidden).text }

// NewLogger returns a logger whose lines carry levelname, name, message,
// asctime and request_id (null outside of requests), and component, user_id
// and job_id when known from the context or from an attribute.
func NewLogger(o Options) (*slog.Logger, error) {
	if o.Out == nil {
		return nil, errors.New("telemetry: the log needs somewhere to go")
	}
	return slog.New(newHandler(o)), nil
}

// NewRegistry returns a registry with the numbers of the Go runtime, of the
// process and of the build. Nothing else is registered in the program's
// default registry, so two of them do not disturb each other.
func NewRegistry(version, commit string) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "selflink_build_info",
		Help:        "Always 1; its labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("telemetry: register the process's numbers: %w", err)
		}
	}
	return r, nil
}
