package coin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"selflink/appliance/database"
	"selflink/appliance/health"
	"selflink/services/coin/coindb"
)

// CheckUnbalanced is the code of the health check that fails when the last
// check of the ledger found something wrong.
const CheckUnbalanced = "coin.unbalanced"

// ErrChecking means that a check is under way on this node.
var ErrChecking = errors.New("coin: the ledger is being checked")

// Checked is a report with its time.
type Checked struct {
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Report
}

// Audit does what Check does, and keeps the report for the dashboard and for the
// health check. It reads the whole ledger; one runs at a time on a node, others
// fail with [ErrChecking].
func (s *Service) Audit(ctx context.Context) (Checked, error) {
	if !s.checking.TryLock() {
		return Checked{Report: Report{Counts: []Count{}, Notes: []string{}}}, ErrChecking
	}
	defer s.checking.Unlock()
	out := Checked{StartedAt: time.Now().UTC()}
	var err error
	if out.Report, err = s.Check(ctx); err != nil {
		return out, err
	}
	out.FinishedAt = time.Now().UTC()
	raw, err := json.Marshal(out.Report)
	if err != nil {
		return out, fmt.Errorf("encode the report of the ledger: %w", err)
	}
	if err := s.q.NoteCheck(ctx, coindb.NoteCheckParams{StartedAt: out.StartedAt, FinishedAt: out.FinishedAt, Report: raw}); err != nil {
		return out, fmt.Errorf("keep the report of the ledger: %w", err)
	}
	return out, nil
}

// LastAudit is the last report that was kept; nil: there is none.
func (s *Service) LastAudit(ctx context.Context) (*Checked, error) {
	r, err := s.q.LastCheck(ctx)
	if database.IsNoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the report of the ledger: %w", err)
	}
	out := Checked{StartedAt: r.StartedAt.UTC(), FinishedAt: r.FinishedAt.UTC()}
	if err := json.Unmarshal(r.Report, &out.Report); err != nil {
		return nil, fmt.Errorf("decode the report of the ledger: %w", err)
	}
	return &out, nil
}

// HealthChecks watch what was found of the ledger.
func (s *Service) HealthChecks() []health.Check {
	return []health.Check{{
		Code: CheckUnbalanced, Title: "The ledger of coins is not right", Severity: health.High, Private: true,
		Impact:    "Balances that people see may be wrong.",
		Remedy:    "Sell nothing until it is understood: FEATURE_PAYMENTS=false. Look with:  selflink coin check   and compare with the last good backup. After it is mended:  selflink schedule run coin.check",
		DependsOn: []string{"database"}, Every: time.Minute,
		Run: func(ctx context.Context) error {
			last, err := s.LastAudit(ctx)
			if err != nil || last == nil {
				return err
			}
			if err := last.Err(); err != nil {
				return fmt.Errorf("%s: %w", last.FinishedAt.Format("2006-01-02 15:04 UTC"), err)
			}
			return nil
		},
	}}
}
