package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"selflink/appliance/health"
)

// CheckBroker is the code of the check on which those of other parts depend:
// it fails while the broker does not answer.
const CheckBroker = "broker"

// CheckStream is the code of the check that fails while a stream takes no
// messages.
func CheckStream(name string) string { return "broker." + strings.ToLower(name) + ".frozen" }

// registerChecks tells r what may go wrong here.
func (b *Broker) registerChecks(r *health.Registry) {
	const frozenRemedy = "Look at the disk: df -h, dmesg. The broker's directory may be deleted while the appliance is stopped; it is built again from the database."
	r.Add(health.Check{
		Code: CheckBroker, Title: "The broker does not answer", Severity: health.High, Visible: 5 * time.Second, Ready: true,
		Impact: "Jobs start late, by the database alone, and events reach connections late.",
		Remedy: "Look at the disk, then restart: systemctl restart selflink. " + frozenRemedy,
		Run:    b.check,
	})
	for _, stream := range Table() {
		frozen, full := CheckStream(stream.Name), "broker."+strings.ToLower(stream.Name)+".full"
		r.Add(health.Check{
			Code: frozen, Title: "Stream " + stream.Name + " takes no messages", Severity: health.High, Ready: true,
			Impact:    "What it carries is late; lost is " + stream.Lost + ".",
			Remedy:    frozenRemedy,
			DependsOn: []string{CheckBroker, full},
			Run:       func(ctx context.Context) error { return b.checkStream(ctx, stream) },
		})
		r.Add(health.Check{
			Code: full, Title: "Stream " + stream.Name + " is nearly full", Severity: health.High, Visible: 10 * time.Second, Ready: true,
			Impact:    "When it is full it refuses messages; what it carries is late then.",
			Remedy:    "See why nobody reads it: selflink jobs list --state queued. It empties by itself.",
			DependsOn: []string{CheckBroker},
			Run:       func(ctx context.Context) error { return b.checkRoom(ctx, stream) },
		})
	}
	if b.bus != nil {
		r.Add(health.Check{
			Code: "cluster", Title: "Nodes of the cluster are missing", Visible: 15 * time.Second,
			Impact: "Fewer nodes serve; what they would have told each other goes by the database, within seconds.",
			Remedy: "Start the missing node, or take it out of CLUSTER_PEERS; see that CLUSTER_TOKEN is the same and the port is open between the nodes.",
			Run:    b.checkCluster,
		})
	}
}

// check asks whether the server answers, with all its streams.
func (b *Broker) check(ctx context.Context) error {
	js, err := b.JetStream()
	if err != nil {
		return err
	}
	var away []error
	for _, stream := range Table() {
		if _, err := js.Stream(ctx, stream.Name); err != nil {
			away = append(away, fmt.Errorf("stream %s does not answer: %w", stream.Name, err))
		}
	}
	return errors.Join(away...)
}

// checkStream tells whether the stream has refused a message of late.
func (b *Broker) checkStream(_ context.Context, stream Stream) error {
	if err := b.refused.of(stream, time.Now()); err != nil {
		return fmt.Errorf("stream %s does not take messages: %w", stream.Name, err)
	}
	return nil
}

// nearlyFull is the share of its budget, in percent, from which on a stream
// counts as nearly full.
const nearlyFull = 80

// checkRoom looks at both budgets of a stream.
func (b *Broker) checkRoom(ctx context.Context, stream Stream) error {
	js, err := b.JetStream()
	if err != nil {
		return err
	}
	info, err := js.Stream(ctx, stream.Name)
	if err != nil {
		return fmt.Errorf("stream %s does not answer: %w", stream.Name, err)
	}
	state := info.CachedInfo().State
	if state.Bytes > uint64(stream.MaxBytes)*nearlyFull/100 {
		return fmt.Errorf("stream %s is over %d %% of its budget: %d of %d MiB", stream.Name, nearlyFull, state.Bytes>>20, stream.MaxBytes>>20)
	}
	if stream.MaxMsgs > 0 && state.Msgs > uint64(stream.MaxMsgs)*nearlyFull/100 {
		return fmt.Errorf("stream %s is over %d %% of its budget: %d of %d messages", stream.Name, nearlyFull, state.Msgs, stream.MaxMsgs)
	}
	return nil
}
