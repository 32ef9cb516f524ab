package database

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// withConsole runs f on a connection to the managed pooler's console.
func (s *Server) withConsole(ctx context.Context, f func(conn *pgx.Conn) error) error {
	r := s.running.Load()
	if r == nil || r.console == "" {
		return nil
	}
	cfg, err := pgx.ParseConfig(r.console)
	if err != nil {
		return fmt.Errorf("read the console's address: %w", err)
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // all it understands
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to the pooler's console: %w", classify(err))
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is pending on it
	return f(conn)
}

// showRows runs a SHOW command of the console and returns its rows as text by
// column name: the columns differ between versions.
func showRows(ctx context.Context, conn *pgx.Conn, command string) ([]map[string]string, error) {
	results, err := conn.PgConn().Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, classify(err))
	}
	var out []map[string]string
	for _, result := range results {
		for _, row := range result.Rows {
			m := make(map[string]string, len(row))
			for i, value := range row {
				m[result.FieldDescriptions[i].Name] = string(value)
			}
			out = append(out, m)
		}
	}
	return out, nil
}
