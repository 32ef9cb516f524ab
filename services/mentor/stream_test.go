package mentor_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/jobs"
	"selflink/appliance/llm"
	"selflink/appliance/llm/llmtest"
	"selflink/services/mentor"
)

func TestStreamOnTheWire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Say("Hel", "lo <b>&", " თქვენ\n\"x\"\\"))
	res := r.Do(t, "GET", streamPath("Hello there", "&mode=default&language=en"), "", "Accept", "text/event-stream")
	require.Equal(t, 200, res.Status)
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	require.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
	require.Equal(t, "no", res.Header.Get("X-Accel-Buffering"))
	session := r.count(t, "SELECT id FROM mentor_sessions")
	parts := strings.SplitAfter(res.Body, "\n\n")
	require.Equal(t, fmt.Sprintf("data: {\"event\": \"start\", \"session_id\": %d, \"mode\": \"default\"}\n\n", session), parts[0])
	require.Equal(t, fmt.Sprintf("data: {\"event\": \"end\", \"session_id\": %d}\n\n", session), parts[len(parts)-2])
	require.Empty(t, parts[len(parts)-1])
	require.Contains(t, res.Body, `{"event": "token", "delta": "Hel`)
	require.Contains(t, res.Body, `თქვენ\n\"x\"\\"}`)
	require.Contains(t, res.Body, `<b>&`)
	require.Equal(t, []string{"user: Hello there", "assistant: Hello <b>& თქვენ\n\"x\"\\"}, r.messages(t))
}

func TestStreamComesAsTheModelSpeaks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"one ", "two "}, Gate: gate})
	s := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", s.next().Event, "before the model says anything")
	gate <- struct{}{}
	require.Equal(t, "one ", s.next().Delta)
	gate <- struct{}{}
	require.Equal(t, "two ", s.next().Delta)
	require.Len(t, r.messages(t), 1, "the answer is not stored in parts")
	close(gate)
	require.Equal(t, "end", s.next().Event)
	require.Len(t, r.messages(t), 2)
}

func TestStreamAggregates(t *testing.T) {
	t.Parallel()
	// A frame goes out at once; what comes within the interval goes with the
	// next, here when the answer is complete.
	r := newRig(t, func(c *choices) { c.deps.FrameInterval = time.Hour })
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"a", "b", "c", "d"}, Gate: gate})
	s := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", s.next().Event)
	gate <- struct{}{}
	require.Equal(t, "a", s.next().Delta)
	close(gate)
	require.Equal(t, "bcd", s.next().Delta)
	require.Equal(t, "end", s.next().Event)
}

func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, want := range map[string]string{
		"/api/v1/mentor/stream/":                             "Message is required.",
		streamPath("  ", ""):                                 "Message is required.",
		streamPath(strings.Repeat("x", 4097), ""):            "Message is too long: 4096 characters at most.",
		streamPath("x", "&mode="+strings.Repeat("m", 33)):    "Mode is too long: 32 characters at most.",
		streamPath("x", "&language="+strings.Repeat("l", 9)): "Language is too long: 8 characters at most.",
	} {
		res := r.Do(t, "GET", path, "", "Accept", "application/json")
		require.Equal(t, 400, res.Status)
		require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
		require.Equal(t, "data: {\"event\": \"error\", \"detail\": \""+want+"\"}\n\n", res.Body)
	}
	res := r.Do(t, "HEAD", streamPath("x", ""), "")
	require.Equal(t, 200, res.Status)
	require.Equal(t, 401, r.As("").Do(t, "GET", "/api/v1/mentor/stream/?message=x&token="+ann, "").Status)
	require.Empty(t, r.messages(t))
	require.Empty(t, r.model.Requests())
}

func TestStreamFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script llmtest.Script
		want   string
	}{
		"down":      {llmtest.Script{Status: 500}, "LLM streaming request failed"},
		"broke off": {llmtest.Script{Pieces: []string{"half"}, Break: true}, "LLM streaming request failed"},
		"hangs":     {llmtest.Script{Pieces: []string{"half"}, Hang: true}, "Stream timed out."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *choices) { c.llm.IdleTimeout = 100 * time.Millisecond })
			r.model.Then(c.script)
			_, last := openStream(t, r.Client, streamPath("x", "")).rest()
			require.Equal(t, "error", last.Event)
			require.Equal(t, c.want, last.Detail)
			// Those who ask again at once hear the same; the model does not.
			_, last = openStream(t, r.Client, streamPath("x", "")).rest()
			require.Equal(t, c.want, last.Detail)
			require.Len(t, r.model.Requests(), 1)
			require.Equal(t, []string{"user: x"}, r.messages(t), "the question stays, half an answer does not")
			// By POST the same question is tried again.
			require.Equal(t, "Hello world", r.chat(t, r.Client, `{"message":"x"}`, 200, now...).Reply)
			require.Equal(t, []string{"user: x", "assistant: Hello world"}, r.messages(t))
		})
	}
}

func TestSameQuestionJoins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"one ", "two"}, Gate: gate})
	first := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", first.next().Event)
	gate <- struct{}{}
	require.Equal(t, "one ", first.next().Delta)

	second := openStream(t, r.Client, streamPath(" x ", "&mode=daily_mentor"))
	require.Equal(t, "start", second.next().Event)
	require.Equal(t, "one ", second.next().Delta, "from the beginning")
	other := openStream(t, r.As(bob), streamPath("x", ""))
	require.Equal(t, "start", other.next().Event)
	r.model.Next(t)
	r.model.Next(t)

	var wait sync.WaitGroup
	wait.Go(func() {
		require.Equal(t, "one two", r.chat(t, r.Client, `{"message":"x"}`, 200, now...).Reply)
	})
	// The minute in which it can be joined begins with its end.
	r.exec(t, "UPDATE mentor_streams SET asked_at = asked_at - interval '61 seconds'")
	close(gate)
	for _, s := range []*events{first, second} {
		text, last := s.rest()
		require.Equal(t, "two", text)
		require.Equal(t, "end", last.Event)
	}
	wait.Wait()
	text, _ := other.rest()
	require.Equal(t, "one two", text)

	// Afterwards it comes from the database, also on another node.
	again := openStream(t, r.Client, streamPath("x", ""))
	text, last := again.rest()
	require.Equal(t, "one two", text)
	require.Equal(t, "end", last.Event)
	node, err := mentor.New(r.deps)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, node.Stop(context.Background())) })
	text, _ = openStream(t, r.serve(t, node, choices{}.limits).As(ann), streamPath("x", "")).rest()
	require.Equal(t, "one two", text)
	now := r.chat(t, r.Client, `{"message":"x"}`, 200, now...)
	require.Equal(t, "one two", now.Reply)
	later := r.chat(t, r.Client, `{"message":"x"}`, 202)
	require.Equal(t, "one two", later.Reply)
	require.Equal(t, now.UserMessage, later.MessageID)
	require.Contains(t, r.Do(t, "GET", later.StatusURL, "").Body, `"status":"ready"`)
	once := r.chat(t, r.Client, `{"message":"x"}`, 202)
	require.Equal(t, later.Task, once.Task)

	require.Len(t, r.model.Requests(), 2, "one for each user")
	require.Equal(t, 4, r.count(t, "SELECT count(*) FROM mentor_messages"))
	require.Equal(t, 0, r.count(t, "SELECT count(*) FROM jobs"))

	// After a minute it is a new question.
	r.exec(t, "UPDATE mentor_streams SET asked_at = asked_at - interval '61 seconds'")
	_, last = openStream(t, r.Client, streamPath("x", "")).rest()
	require.Equal(t, "end", last.Event)
	require.Equal(t, 6, r.count(t, "SELECT count(*) FROM mentor_messages"))
}

func TestManyAskTheSameAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"Hello"}, Gate: gate})
	var begun, wait sync.WaitGroup
	begun.Add(16)
	for range 16 {
		wait.Go(func() {
			s := openStream(t, r.Client, streamPath("x", ""))
			require.Equal(t, "start", s.next().Event)
			begun.Done()
			text, last := s.rest()
			require.Equal(t, "Hello", text)
			require.Equal(t, "end", last.Event)
		})
	}
	begun.Wait()
	r.model.Next(t)
	close(gate)
	wait.Wait()
	require.Len(t, r.model.Requests(), 1)
	require.Equal(t, []string{"user: x", "assistant: Hello"}, r.messages(t))
}

func TestTaskJoinsAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"one"}, Gate: gate})
	s := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", s.next().Event)
	r.model.Next(t)
	later := r.chat(t, r.Client, `{"message":"x"}`, 202)
	require.Empty(t, later.Reply)
	require.Contains(t, r.Do(t, "GET", later.StatusURL, "").Body, `"pending"`)
	close(gate)
	_, last := s.rest()
	require.Equal(t, "end", last.Event)
	require.Equal(t, jobs.Succeeded, r.finished(t, later.Task))
	require.Contains(t, r.Do(t, "GET", later.StatusURL, "").Body, `"ready"`)
	require.Len(t, r.model.Requests(), 1)
	require.Equal(t, []string{"user: x", "assistant: one"}, r.messages(t))
}

func TestGenerationEndsWithItsLastClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.StreamLinger = time.Millisecond })
	r.model.Then(llmtest.Script{Pieces: []string{"half"}, Hang: true})
	first := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", first.next().Event)
	require.Equal(t, "half", first.next().Delta)
	second := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", second.next().Event)
	gone := r.model.Next(t).Gone
	first.close()
	select {
	case <-gone:
		t.Fatal("it ended with the first client")
	default:
	}
	second.close()
	<-gone
	require.Equal(t, []string{"user: x"}, r.messages(t))
	// Who asks again gets an answer to the same question.
	text, _ := openStream(t, r.Client, streamPath("x", "")).rest()
	require.Equal(t, "Hello world", text)
	require.Equal(t, []string{"user: x", "assistant: Hello world"}, r.messages(t))
}

func TestGenerationOutlivesABreak(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.StreamLinger = time.Hour })
	gate := make(chan struct{})
	r.model.Always(llmtest.Script{Pieces: []string{"one", " two"}, Gate: gate})
	s := openStream(t, r.Client, streamPath("x", ""))
	gate <- struct{}{}
	require.Equal(t, "start", s.next().Event)
	require.Equal(t, "one", s.next().Delta)
	s.close() // as the old client does before it asks by POST
	close(gate)
	require.Equal(t, "one two", r.chat(t, r.Client, `{"message":"x"}`, 200, now...).Reply)
	require.Len(t, r.model.Requests(), 1)
}

func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Script{Pieces: []string{"half"}, Hang: true})
	s := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", s.next().Event)
	require.Equal(t, "half", s.next().Delta)
	gone := r.model.Next(t).Gone
	require.NoError(t, r.svc.Stop(t.Context()))
	<-gone
	_, last := s.rest()
	require.Equal(t, "Streaming failed.", last.Detail)
	require.Equal(t, 503, r.Do(t, "GET", streamPath("y", ""), "", "Accept", "*/*").Status)
}

func TestServerStopEndsStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.model.Always(llmtest.Script{Pieces: []string{"half"}, Hang: true})
	s := openStream(t, r.Client, streamPath("x", ""))
	require.Equal(t, "start", s.next().Event)
	require.Equal(t, "half", s.next().Delta)
	require.NoError(t, r.api.Stop(t.Context()))
	_, last := s.rest()
	require.Equal(t, "Streaming failed.", last.Detail)
}

func TestFiveHundredStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) {
		c.llm = llm.Options{MockText: strings.TrimSpace(strings.Repeat("word ", 20)), MockDelay: 10 * time.Millisecond}
	})
	var wait sync.WaitGroup
	for i := range 500 {
		wait.Go(func() {
			text, last := openStream(t, r.As(fmt.Sprint(2000+i%50)), streamPath(fmt.Sprintf("stream-%d", i), "")).rest()
			require.Equal(t, 20, len(strings.Fields(text)))
			require.Equal(t, "end", last.Event)
		})
	}
	wait.Wait()
	require.Equal(t, 1000, r.count(t, "SELECT count(*) FROM mentor_messages"))
}

func TestNothingSaidReachesALog(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *choices) { c.deps.ChatWait = time.Minute })
	r.model.Always(llmtest.Say("needle-answer"))
	r.model.Then(llmtest.Script{Status: 500})
	r.Do(t, "POST", "/api/v1/mentor/chat/", `{"message":"needle-zero"}`, now...)
	r.chat(t, r.Client, `{"message":"needle-one"}`, 200, now...)
	r.chat(t, r.Client, `{"message":"needle-two"}`, 202)
	openStream(t, r.Client, streamPath("needle-three", "")).rest()
	r.Do(t, "POST", "/api/v1/mentor/daily/entry/", `{"text":"needle-four"}`)
	r.Do(t, "POST", "/api/v1/mentor/sessions/ask/", `{"text":"needle-five"}`)
	require.NotEmpty(t, r.log.String())
	require.NotContains(t, r.log.String(), "needle")
}
