package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"selflink/appliance/broker"
)

func jetStream(t *testing.T, b *broker.Broker) jetstream.JetStream {
	js, err := b.JetStream()
	require.NoError(t, err)
	return js
}

func TestInsight(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), nil)
	js := jetStream(t, b)
	consumer, err := js.CreateConsumer(t.Context(), broker.JobsStream, jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	for i := range 3 {
		_, err := js.Publish(t.Context(), broker.JobsSubject("default", 1), []byte{byte('a' + i)})
		require.NoError(t, err)
	}
	_, err = consumer.Next()
	require.NoError(t, err)

	seen, err := b.Insight(t.Context())
	require.NoError(t, err)
	require.Equal(t, "selflink", seen.Node)
	require.NotEmpty(t, seen.Version)
	require.Positive(t, seen.Disk.Used)
	require.EqualValues(t, 1<<30, seen.Disk.Limit)
	require.Len(t, seen.Streams, len(broker.Table()))
	jobs := seen.Streams[0]
	require.EqualValues(t, 3, jobs.Messages)
	require.Equal(t, "file", jobs.Storage)
	require.Equal(t, "new", jobs.Discard)
	require.Len(t, jobs.Consumers, 1)
	require.Equal(t, "reader", jobs.Consumers[0].Name)
	require.EqualValues(t, 2, jobs.Consumers[0].Pending)
	require.Equal(t, 1, jobs.Consumers[0].AckPending)
	require.NotNil(t, jobs.Consumers[0].Last)

	text, err := json.Marshal(seen)
	require.NoError(t, err)
	require.Contains(t, string(text), `"buckets":[]`)
	require.Contains(t, string(text), `"peers":{"connected":0,"configured":0}`)
	require.Contains(t, string(text), `"lost_if_power_fails":"nothing`)

	require.NoError(t, b.Stop(t.Context()))
	_, err = b.Insight(t.Context())
	require.ErrorIs(t, err, broker.ErrStopped)
}

// Looking takes nothing away, and pages fit together also where messages were
// consumed in between.
func TestPeek(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), nil)
	js := jetStream(t, b)
	page, err := b.Peek(t.Context(), broker.JobsStream, "", 0)
	require.NoError(t, err)
	require.Empty(t, page.Items)
	require.Nil(t, page.Next)

	stream, err := js.Stream(t.Context(), broker.JobsStream)
	require.NoError(t, err)
	const all = 500
	var kept []uint64 // oldest first
	for i := range all {
		ack, err := js.Publish(t.Context(), broker.JobsSubject("default", 1), fmt.Appendf(nil, "id %d", i))
		require.NoError(t, err)
		if seq := ack.Sequence; seq == 3 || seq%97 == 0 || seq > 480 && seq%2 == 0 {
			kept = append(kept, seq)
		}
	}
	for seq, at := uint64(1), 0; seq <= all; seq++ {
		if at < len(kept) && kept[at] == seq {
			at++
			continue
		}
		require.NoError(t, stream.DeleteMsg(t.Context(), seq))
	}
	for _, limit := range []int{1, 3, 7, 200, 1000} {
		var seen []uint64
		for cursor := ""; ; cursor = *page.Next {
			page, err = b.Peek(t.Context(), broker.JobsStream, cursor, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Items), limit)
			for _, m := range page.Items {
				seen = append([]uint64{m.Sequence}, seen...)
				require.Equal(t, fmt.Sprintf("id %d", m.Sequence-1), m.Data)
				require.Equal(t, "text", m.Encoding)
			}
			if page.Next == nil {
				break
			}
		}
		require.Equal(t, kept, seen, "limit %d", limit)
	}
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, len(kept), info.State.Msgs, "nothing was consumed")
	require.Zero(t, info.State.Consumers, "and nobody reads")
}

func TestPeekCutsAndRefuses(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), nil)
	js := jetStream(t, b)
	subject := broker.JobsSubject("default", 1)
	m := &nats.Msg{Subject: subject, Data: []byte(strings.Repeat("é", 3000)), Header: nats.Header{"Big": {strings.Repeat("x", 9000)}}}
	_, err := js.PublishMsg(t.Context(), m)
	require.NoError(t, err)
	_, err = js.Publish(t.Context(), subject, []byte{0xff, 0, 1})
	require.NoError(t, err)
	page, err := b.Peek(t.Context(), broker.JobsStream, "", 1)
	require.NoError(t, err)
	binary := page.Items[0]
	require.Equal(t, "base64", binary.Encoding)
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte{0xff, 0, 1}), binary.Data)
	require.False(t, binary.Truncated)
	good := *page.Next
	page, err = b.Peek(t.Context(), broker.JobsStream, good, 0)
	require.NoError(t, err)
	long := page.Items[0]
	require.True(t, long.Truncated)
	require.Equal(t, 6000, long.Bytes)
	require.Equal(t, strings.Repeat("é", 2048), long.Data)
	require.Len(t, long.Headers["Big"][0], 256)

	for _, name := range []string{"", "KV_x", "JOBS.>", "jobs"} {
		_, err = b.Peek(t.Context(), name, "", 0)
		require.ErrorIs(t, err, broker.ErrNoStream, name)
	}
	seal := base64.RawURLEncoding.EncodeToString
	for _, forged := range []string{"x", good + "=", seal([]byte("JOBS/0")), seal([]byte("JOBS/-1")), seal([]byte("JOBS/4")), seal([]byte("JOBS/02")), seal([]byte("OTHER/2")), seal([]byte("JOBS/99999999999999999999"))} {
		_, err = b.Peek(t.Context(), broker.JobsStream, forged, 0)
		require.ErrorIs(t, err, broker.ErrCursor, forged)
	}
	require.NoError(t, b.Stop(t.Context()))
	_, err = b.Peek(t.Context(), broker.JobsStream, "", 0)
	require.ErrorIs(t, err, broker.ErrStopped)
}

// A survey asks all nodes and ends when all have answered.
func TestSurvey(t *testing.T) {
	t.Parallel()
	token := newToken(t)
	one := startNode(t, token)
	two := startNode(t, token, one.addr())
	three := startNode(t, token, one.addr())
	for _, n := range []*node{one, two, three} {
		n.sees(t, 2)
	}
	for i, n := range []*node{one, two, three} {
		cancel, err := n.Answer("who", func(question []byte) []byte { return fmt.Appendf(nil, "%s %d", question, i) })
		require.NoError(t, err)
		t.Cleanup(cancel)
	}
	ask := func() map[string]bool {
		answers, err := one.Survey(t.Context(), "who", []byte("I am"), patience)
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, a := range answers {
			seen[string(a)] = true
		}
		require.Len(t, seen, len(answers))
		return seen
	}
	// Word of who answers takes a moment to cross: until then the survey
	// waits, but for no answer that can't come.
	require.Eventually(t, func() bool {
		answers, err := one.Survey(t.Context(), "who", nil, 100*time.Millisecond)
		return err == nil && len(answers) == 3
	}, patience, time.Millisecond)
	require.Equal(t, map[string]bool{"I am 0": true, "I am 1": true, "I am 2": true}, ask())
	require.NoError(t, three.Stop(t.Context()))
	one.sees(t, 1)
	require.Equal(t, map[string]bool{"I am 0": true, "I am 1": true}, ask())
}

func TestSurveyIsBounded(t *testing.T) {
	t.Parallel()
	b := start(t, t.TempDir(), nil)
	answers, err := b.Survey(t.Context(), "nobody", nil, patience)
	require.NoError(t, err)
	require.Empty(t, answers, "nobody answers and nobody waits")

	var size atomic.Int64
	size.Store(256<<10 + 1)
	cancel, err := b.Answer("size", func([]byte) []byte { return make([]byte, size.Load()) })
	require.NoError(t, err)
	answers, err = b.Survey(t.Context(), "size", nil, 50*time.Millisecond)
	require.NoError(t, err)
	require.Empty(t, answers, "too big to be sent")
	size.Add(-1)
	answers, err = b.Survey(t.Context(), "size", nil, patience)
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.NoError(t, b.Publish("size", nil), "what is no question is no harm")
	cancel()
	require.Eventually(t, func() bool { // word of it goes by the other connection
		answers, err := b.Survey(t.Context(), "size", nil, 50*time.Millisecond)
		return err == nil && len(answers) == 0
	}, patience, time.Millisecond)

	_, err = b.Survey(t.Context(), "size", make([]byte, 64<<10+1), patience)
	require.ErrorIs(t, err, broker.ErrQuestion)
	cancel, err = b.Answer("silent", func([]byte) []byte { return nil })
	require.NoError(t, err)
	defer cancel()
	over, end := context.WithCancel(t.Context())
	end()
	answers, err = b.Survey(over, "silent", nil, patience)
	require.NoError(t, err)
	require.Empty(t, answers)
	require.NoError(t, b.Stop(t.Context()))
	_, err = b.Survey(t.Context(), "size", nil, patience)
	require.ErrorIs(t, err, broker.ErrStopped)
	_, err = b.Answer("size", nil)
	require.ErrorIs(t, err, broker.ErrStopped)
}
