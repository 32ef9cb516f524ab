package broker_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
	"selflink/appliance/health"
)

func start(t *testing.T, dir string, registry *health.Registry) *broker.Broker {
	b, err := broker.New(broker.Options{Dir: dir, Health: registry})
	require.NoError(t, err)
	require.NoError(t, b.Start(t.Context()))
	require.NoError(t, b.Start(t.Context()), "starting twice does nothing")
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	return b
}

func TestPublishReachesSubscribers(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), nil)
	got := make(chan string, 1)
	cancel, err := b.Subscribe("a.*", func(subject string, data []byte) { got <- subject + " " + string(data) })
	require.NoError(t, err)
	require.NoError(t, b.Publish("a.b", []byte("x")))
	require.Equal(t, "a.b x", <-got)
	cancel()
}

// The directory may be lost while the broker is down: it is made again.
func TestWipedDirectoryIsRebuilt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var registry health.Registry
	b := start(t, dir, &registry)
	_, ready := registry.Run(t.Context())
	require.True(t, ready)

	require.NoError(t, b.Stop(t.Context()))
	require.NoError(t, b.Stop(t.Context()), "stopping twice does nothing")
	results, ready := registry.Run(t.Context())
	require.False(t, ready)
	require.Equal(t, "broker", results[0].Name)
	require.ErrorIs(t, b.Publish("a", nil), broker.ErrStopped)

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, b.Start(t.Context()))
	_, ready = registry.Run(t.Context())
	require.True(t, ready)
	for _, stream := range broker.Table() {
		js, err := b.JetStream()
		require.NoError(t, err)
		_, err = js.Stream(t.Context(), stream.Name)
		require.NoError(t, err)
	}
}

func TestEveryStreamIsBoundedAndSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, broker.Print(&out))
	for _, stream := range broker.Table() {
		require.Positive(t, stream.MaxBytes, stream.Name)
		require.NotEmpty(t, stream.Lost, stream.Name)
		require.Contains(t, out.String(), stream.Name)
	}
}

// A message that a stream did not take turns the health red by the stream's name.
func TestRefusedMessageIsNamed(t *testing.T) {
	t.Parallel()
	var registry health.Registry
	b := start(t, t.TempDir(), &registry)
	js, err := b.JetStream()
	require.NoError(t, err)
	subject := broker.JobsSubject("default", 1)
	ack, err := js.PublishAsync(subject, []byte("x"), jetstream.WithExpectLastSequence(99))
	require.NoError(t, err)
	select {
	case <-ack.Err():
	case <-ack.Ok():
		t.Fatal("it should have been refused")
	}
	require.Eventually(t, func() bool {
		results, ready := registry.Run(t.Context())
		return !ready && strings.Contains(results[1].Error, "stream JOBS does not take messages")
	}, 60*time.Second, time.Millisecond)
	registry.Round(t.Context())
	problems := registry.Problems()
	require.Len(t, problems, 1)
	require.Equal(t, broker.CheckStream(broker.JobsStream), problems[0].Code)
	require.Equal(t, health.High, problems[0].Severity)
}

// A stream that fills up is told by name, and so is that it is full.
func TestFullStreamIsNamed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	registry := health.New(health.Options{Clock: func() time.Time { return now }})
	b := start(t, t.TempDir(), registry)
	registry.Round(t.Context())
	require.Empty(t, registry.Problems())
	js, err := b.JetStream()
	require.NoError(t, err)
	budget := broker.Table()[0].MaxBytes
	ids := make([]byte, 900<<10)
	var last error
	for range budget/int64(len(ids)) + 1 {
		if _, last = js.Publish(t.Context(), broker.JobsSubject("default", 1), ids); last != nil {
			break
		}
	}
	require.ErrorContains(t, last, "maximum bytes exceeded")
	registry.Round(t.Context())
	require.Empty(t, registry.Problems(), "it may be a burst")
	now = now.Add(10 * time.Second)
	registry.Round(t.Context())
	problems := registry.Problems()
	require.Len(t, problems, 1)
	require.Equal(t, "broker.jobs.full", problems[0].Code)
	require.Contains(t, problems[0].Text, "of 64 MiB")

	stream, err := js.Stream(t.Context(), broker.JobsStream)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
	registry.Round(t.Context())
	require.Empty(t, registry.Problems())
}
