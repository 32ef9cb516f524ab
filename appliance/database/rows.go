package database

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pooledRows gives its connection back when it is closed or read to its end,
// and classifies errors.
type pooledRows struct {
	pgx.Rows
	conn *pgxpool.Conn // nil once given back
}

// Close implements [pgx.Rows].
func (r *pooledRows) Close() {
	r.Rows.Close()
	if r.conn != nil {
		r.conn.Release()
		r.conn = nil
	}
}

// Next implements [pgx.Rows].
func (r *pooledRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Scan implements [pgx.Rows].
func (r *pooledRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return classify(err)
}

// Values implements [pgx.Rows].
func (r *pooledRows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return values, classify(err)
}

// Err implements [pgx.Rows].
func (r *pooledRows) Err() error { return classify(r.Rows.Err()) }

// Conn implements [pgx.Rows]. A pooled connection is nobody's to keep.
func (r *pooledRows) Conn() *pgx.Conn { return nil }

// oneRow reads the first of its rows, as pgx.Row promises.
type oneRow struct{ rows pgx.Rows }

// Scan implements [pgx.Row].
func (r oneRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// failedRows are the rows of a query that could not be sent.
type failedRows struct{ err error }

func (failedRows) Close()                                       {}
func (r failedRows) Err() error                                 { return r.err }
func (failedRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (failedRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (failedRows) Next() bool                                   { return false }
func (r failedRows) Scan(...any) error                          { return r.err }
func (r failedRows) Values() ([]any, error)                     { return nil, r.err }
func (failedRows) RawValues() [][]byte                          { return nil }
func (failedRows) Conn() *pgx.Conn                              { return nil }
func (failedRows) TypeMap() *pgtype.Map                         { return pgtype.NewMap() }

// classifiedRows are rows of a transaction: the connection stays with it.
type classifiedRows struct{ pgx.Rows }

func (r classifiedRows) Err() error             { return classify(r.Rows.Err()) }
func (r classifiedRows) Scan(dest ...any) error { return classify(r.Rows.Scan(dest...)) }
func (r classifiedRows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	return values, classify(err)
}

// batchResults classifies a batch's errors and gives the connection back.
type batchResults struct {
	inner   pgx.BatchResults
	release func() // nil in a transaction and once called
}

// Exec implements [pgx.BatchResults].
func (b *batchResults) Exec() (pgconn.CommandTag, error) {
	tag, err := b.inner.Exec()
	return tag, classify(err)
}

// Query implements [pgx.BatchResults].
func (b *batchResults) Query() (pgx.Rows, error) {
	rows, err := b.inner.Query()
	if err != nil {
		err = classify(err)
		return failedRows{err: err}, err
	}
	return classifiedRows{rows}, nil
}

// QueryRow implements [pgx.BatchResults].
func (b *batchResults) QueryRow() pgx.Row {
	rows, _ := b.Query() //nolint:errcheck // Scan reports it
	return oneRow{rows: rows}
}

// Tx implements [pgx.BatchResults]. A batch of this package begins none: that
// is [Pool.Tx]'s to do.
func (b *batchResults) Tx() pgx.Tx { return nil }

// Close implements [pgx.BatchResults].
func (b *batchResults) Close() error {
	err := b.inner.Close()
	if b.release != nil {
		b.release()
		b.release = nil
	}
	return classify(err)
}

// failedBatch is a batch that could not be sent.
type failedBatch struct{ err error }

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return failedRows(b), b.err }
func (b failedBatch) QueryRow() pgx.Row                { return oneRow{rows: failedRows(b)} }
func (b failedBatch) Close() error                     { return b.err }
func (failedBatch) Tx() pgx.Tx                         { return nil }
