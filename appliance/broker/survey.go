package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxAnswers is how many answers of a survey are taken: more nodes than
	// anybody runs.
	maxAnswers = 64

	// maxAnswer bounds one answer in bytes, and maxAnswersSize all of them.
	maxAnswer      = 256 << 10
	maxAnswersSize = 4 << 20

	// maxQuestion bounds a question in bytes.
	maxQuestion = 64 << 10

	// longestSurvey bounds the wait for answers, whatever the caller says.
	longestSurvey = 10 * time.Second
)

// ErrQuestion is returned for a question of more than 64 KiB.
var ErrQuestion = errors.New("broker: a question must not exceed 64 KiB")

// Survey asks who answers subject on every node, this one too, and gives what
// they say in the order in which it comes. It returns when as many have
// answered as there are nodes connected, or after wait (at most 10 s), or when
// ctx ends; a node that says nothing is no error, and nobody at all gives an
// empty list. At most 64 answers of 4 MiB together are taken.
func (b *Broker) Survey(ctx context.Context, subject string, question []byte, wait time.Duration) ([][]byte, error) {
	if len(question) > maxQuestion {
		return nil, ErrQuestion
	}
	b.mu.Lock()
	conn := b.pub
	b.mu.Unlock()
	if conn == nil {
		return nil, ErrStopped
	}
	peers, _ := b.Peers()
	// The inbox and the question take the same connection, and the same route
	// to each peer: so a peer knows of the inbox before it is asked.
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("survey %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sub.SetPendingLimits(maxAnswers, maxAnswersSize); err != nil {
		return nil, fmt.Errorf("survey %s: %w", subject, err)
	}
	if err := conn.PublishRequest(subject, inbox, question); err != nil {
		return nil, fmt.Errorf("survey %s: %w", subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, min(wait, longestSurvey))
	defer cancel()
	var answers [][]byte
	size := 0
	for len(answers) < min(peers+1, maxAnswers) {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return answers, nil
		case ctx.Err() != nil:
			return answers, nil
		case err != nil:
			return answers, fmt.Errorf("survey %s: %w", subject, err)
		}
		if size += len(m.Data); size > maxAnswersSize {
			break
		}
		answers = append(answers, m.Data)
	}
	return answers, nil
}

// Answer answers every [Broker.Survey] of a subject, one after the other, until
// cancel is called. What answer returns is sent as it is; nothing is sent for
// nil and for more than 256 KiB, which is logged. question must not be kept.
func (b *Broker) Answer(subject string, answer func(question []byte) []byte) (cancel func(), err error) {
	b.mu.Lock()
	listen, say := b.sub, b.pub
	b.mu.Unlock()
	if listen == nil {
		return nil, ErrStopped
	}
	sub, err := listen.Subscribe(subject, func(m *nats.Msg) {
		if m.Reply == "" {
			return
		}
		text := answer(m.Data)
		if len(text) > maxAnswer {
			b.opts.Logger.Warn("an answer to a survey is too big and was not sent", "component", "broker", "subject", subject, "bytes", len(text))
			return
		}
		if text == nil {
			return
		}
		if err := say.Publish(m.Reply, text); err != nil {
			b.opts.Logger.Debug("an answer to a survey was not sent", "component", "broker", "subject", subject, "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", subject, err)
	}
	if err := listen.Flush(); err != nil { // see Subscribe
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("answer %s: %w", subject, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
