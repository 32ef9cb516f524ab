package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"

	"selflink/appliance/database"
)

// bareQuery is the one SELECT of the bare server.
const bareQuery = "SELECT id, name, value FROM bare WHERE id = $1"

// meBesideBare measures users/me beside a bare Fiber app that verifies a token
// and makes one SELECT through a PgBouncer of the same settings.
func (b *bench) meBesideBare(ctx context.Context, s *server, tokens []string) error {
	prepared := make([][]byte, len(tokens))
	for i := range tokens {
		prepared[i] = request("GET", "/api/v1/users/me/", tokens[i], "")
	}
	ours, err := closedLoop(s.addr, b.conns, b.length, http.StatusOK, func(conn, _ int) []byte { return prepared[conn] })
	if err != nil {
		return fmt.Errorf("users/me: %w", err)
	}
	bare, err := b.bare(ctx)
	if err != nil {
		return fmt.Errorf("bare server: %w", err)
	}
	row("GET users/me", fmt.Sprintf("%.0f req/s", ours.rate()), ours.p50, ours.p99,
		fmt.Sprintf("bare Fiber + JWT + one SELECT %.0f (×%.2f)", bare.rate(), ours.rate()/bare.rate()))
	return nil
}

// bare runs the baseline in this process, which the load client shares with it
// as the cores.
func (b *bench) bare(ctx context.Context) (result, error) {
	dir, err := os.MkdirTemp("", "selflink-bench-bare-")
	if err != nil {
		return result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return result{}, err
	}
	db, err := database.New(database.Options{DataDir: filepath.Join(dir, "data")})
	if err != nil {
		return result{}, err
	}
	if err := db.Start(ctx); err != nil {
		return result{}, err
	}
	defer func() { _ = db.Stop(context.WithoutCancel(ctx)) }()
	if _, err := db.Direct().Exec(ctx, "CREATE TABLE bare (id bigint PRIMARY KEY, name text NOT NULL, value jsonb NOT NULL)"); err != nil {
		return result{}, err
	}
	if _, err := db.Direct().Exec(ctx, "INSERT INTO bare VALUES (1, 'bench', '{}')"); err != nil {
		return result{}, err
	}

	key := []byte("a key of the benchmark alone, 32 b")
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"user_id": 1, "exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
	if err != nil {
		return result{}, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/me", func(c *fiber.Ctx) error {
		claims := jwt.MapClaims{}
		if _, err := parser.ParseWithClaims(strings.TrimPrefix(c.Get("Authorization"), "Bearer "), claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
			return c.SendStatus(http.StatusUnauthorized)
		}
		var row struct {
			ID    int64  `json:"id"`
			Name  string `json:"name"`
			Value []byte `json:"value"`
		}
		if err := db.Pool().QueryRow(c.UserContext(), bareQuery, int64(1)).Scan(&row.ID, &row.Name, &row.Value); err != nil {
			return err
		}
		return c.JSON(row)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	go func() { _ = app.Listener(listener) }()
	defer func() { _ = app.Shutdown() }()
	prepared := request("GET", "/me", token, "")
	return closedLoop(listener.Addr().String(), b.conns, b.length, http.StatusOK, func(int, int) []byte { return prepared })
}
