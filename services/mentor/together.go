package mentor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"selflink/appliance/gather"
	"selflink/services/mentor/mentordb"
)

// A crowd that asks in the same instant shares statements and commits: five
// hundred questions one by one keep all connections of the pool busy for half
// a second, together they take a tenth of it. Two statements at once keep the
// database busy while one of them waits for its commit to reach the disk.
const (
	togetherLanes = 2
	togetherMost  = 64
)

// asking is a question on its way into the database.
type asking struct {
	chatInput
	claim       bool // others may join it
	session     int64
	question    int64
	fingerprint []byte
}

// asked is what became of it.
type asked struct {
	row []string // see mentor_ask
	err error
}

// answering is the answer to a question of a stream.
type answering struct {
	id          int64
	text        string
	user        int64
	question    int64
	fingerprint []byte
}

// answered is what became of it.
type answered struct {
	row []string // see mentor_answer
	err error
}

// gatherings are the groups of a service.
type gatherings struct {
	asks    *gather.Group[asking, asked]
	answers *gather.Group[answering, answered]
}

func newGatherings(q *mentordb.Queries) (g gatherings, err error) {
	o := gather.Options{Lanes: togetherLanes, Most: togetherMost, Timeout: storeTimeout}
	g.asks, err = gather.New(o, func(ctx context.Context, in []asking) ([]asked, error) { return askTogether(ctx, q, in) })
	if err != nil {
		return g, fmt.Errorf("mentor: %w", err)
	}
	g.answers, err = gather.New(o, func(ctx context.Context, in []answering) ([]answered, error) { return answerTogether(ctx, q, in) })
	if err != nil {
		return g, fmt.Errorf("mentor: %w", err)
	}
	return g, nil
}

// inOrder gives the numbers of the items of in, ordered by compare.
func inOrder[T any](in []T, compare func(a, b T) int) []int {
	order := make([]int, len(in))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compare(in[a], in[b]) })
	return order
}

// isStatements reports whether err is Postgres's about a statement: of many in
// one statement it may be about one of them.
func isStatements(err error) bool { return errors.As(err, new(*pgconn.PgError)) }

// askTogether stores questions. When one of them cannot be stored the others
// are, each for itself.
func askTogether(ctx context.Context, q *mentordb.Queries, in []asking) ([]asked, error) {
	order := inOrder(in, func(a, b asking) int {
		return cmp.Or(cmp.Compare(a.user, b.user), strings.Compare(a.mode, b.mode),
			strings.Compare(a.language, b.language), bytes.Compare(a.fingerprint, b.fingerprint))
	})
	p := mentordb.AskManyParams{JoinableSeconds: joinable.Seconds(), Most: chatHistory}
	for _, i := range order {
		a := &in[i]
		p.UserIds, p.Modes, p.Languages, p.Contents = append(p.UserIds, a.user), append(p.Modes, a.mode), append(p.Languages, a.language), append(p.Contents, a.text)
		p.SessionIds, p.QuestionIds = append(p.SessionIds, a.session), append(p.QuestionIds, a.question)
		p.Fingerprints, p.Claims = append(p.Fingerprints, a.fingerprint), append(p.Claims, a.claim)
	}
	rows, err := q.AskMany(ctx, p)
	if isGone(err) && len(in) == 1 { // its session, at this very moment
		rows, err = q.AskMany(ctx, p)
	}
	out := make([]asked, len(in))
	if isStatements(err) && len(in) > 1 {
		for i := range in {
			one, err := askTogether(ctx, q, in[i:i+1])
			if err != nil {
				out[i] = asked{err: err}
				continue
			}
			out[i] = one[0]
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		out[order[row.Nth-1]] = asked{row: row.Asked}
	}
	return out, nil
}

// answerTogether stores the answers of streams. When one of them cannot be
// stored the others are, each for itself.
func answerTogether(ctx context.Context, q *mentordb.Queries, in []answering) ([]answered, error) {
	p := mentordb.StoreStreamedParams{Role: roleAssistant, TaskVersion: taskVersion}
	for i := range in {
		a := &in[i]
		p.Ids, p.Contents, p.RequestIds = append(p.Ids, a.id), append(p.Contents, a.text), append(p.RequestIds, a.question)
		p.UserIds, p.Fingerprints = append(p.UserIds, a.user), append(p.Fingerprints, a.fingerprint)
	}
	rows, err := q.StoreStreamed(ctx, p)
	out := make([]answered, len(in))
	if isStatements(err) && len(in) > 1 {
		for i := range in {
			one, err := answerTogether(ctx, q, in[i:i+1])
			if err != nil {
				out[i] = answered{err: err}
				continue
			}
			out[i] = one[0]
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		out[row.Nth-1] = answered{row: row.Stored}
	}
	return out, nil
}

// storeStreamed stores the answer to a question of a stream, or gives the one
// it has, and lets others join it for a while from now on.
func (s *Service) storeStreamed(ctx context.Context, q question, sum [32]byte, text string) (answer, error) {
	id := s.IDs.Next()
	out, err := s.answers.Do(ctx, answering{id: id, text: text, user: q.user, question: q.id, fingerprint: sum[:]})
	if err == nil {
		err = out.err
	}
	if err != nil {
		return answer{}, fmt.Errorf("store answer: %w", err)
	}
	return readAnswer(out.row, id)
}

// readAnswer reads what mentor_answer gives; id is that of the answer that was
// to be stored.
func readAnswer(row []string, id int64) (a answer, err error) {
	if len(row) < 2 {
		return answer{}, errQuestionGone
	}
	a.text = row[1]
	if a.id, err = strconv.ParseInt(row[0], 10, 64); err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	a.stored = a.id == id || len(row) > 2 // in the place of a failure's text
	return a, nil
}
