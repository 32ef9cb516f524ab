package broker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
)

// BenchmarkPublish is the way of one message to a subscriber, inside a node
// and over a route: one after the other for the latency, then many at once.
func BenchmarkPublish(b *testing.B) {
	token := newToken(b)
	here := startNode(b, token)
	there := startNode(b, token, here.addr())
	alone := startAlone(b)
	data := make([]byte, 256)
	for _, way := range []struct {
		name     string
		from, to *node
	}{{"alone", alone, alone}, {"bus", here, here}, {"route", here, there}} {
		b.Run(way.name+"/latency", func(b *testing.B) {
			got := arrivals(b, way.from, way.to, "bench.latency")
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				begin := time.Now()
				require.NoError(b, way.from.Publish("bench.latency", data))
				<-got
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
		b.Run(way.name+"/throughput", func(b *testing.B) {
			got := arrivals(b, way.from, way.to, "bench.throughput")
			under := 0 // way
			for b.Loop() {
				if under++; under > cap(got)/2 {
					<-got
					under--
				}
				require.NoError(b, way.from.Publish("bench.throughput", data))
			}
			for ; under > 0; under-- {
				<-got
			}
		})
	}
}

// BenchmarkStart is a start and a stop, with and without the bus.
func BenchmarkStart(b *testing.B) {
	for name, c := range map[string]broker.Cluster{"alone": {}, "joined": {Listen: "127.0.0.1:0", Token: newToken(b)}} {
		b.Run(name, func(b *testing.B) {
			n := newNode(b, c)
			var starts time.Duration
			for b.Loop() {
				begin := time.Now()
				require.NoError(b, n.Start(context.Background()))
				starts += time.Since(begin)
				require.NoError(b, n.Stop(context.Background()))
			}
			b.ReportMetric(float64(starts.Microseconds())/1e3/float64(b.N), "ms/start")
		})
	}
}

func startAlone(b *testing.B) *node {
	n := newNode(b, broker.Cluster{})
	require.NoError(b, n.Start(context.Background()))
	b.Cleanup(func() { require.NoError(b, n.Stop(context.Background())) })
	return n
}

// arrivals tells each message with content that reaches to. It returns once
// from knows of the subscription.
func arrivals(b *testing.B, from, to *node, subject string) <-chan struct{} {
	got, known := make(chan struct{}, 8192), make(chan struct{}, 1)
	cancel, err := to.Subscribe(subject, func(_ string, data []byte) {
		if len(data) > 0 {
			got <- struct{}{}
			return
		}
		select {
		case known <- struct{}{}:
		default:
		}
	})
	require.NoError(b, err)
	b.Cleanup(cancel)
	require.Eventually(b, func() bool {
		require.NoError(b, from.Publish(subject, nil))
		select {
		case <-known:
			return true
		default:
			return false
		}
	}, patience, time.Millisecond)
	return got
}
