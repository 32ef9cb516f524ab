package httpapi

import (
	"bufio"
	"context"
	"time"

	"github.com/gofiber/fiber/v2"
)

// HeartbeatInterval is the longest silence of an event stream. A gone client
// is only noticed by writing, and proxies cut silent connections.
const HeartbeatInterval = 10 * time.Second

// EventWriter writes server-sent events. Every event is flushed at once. Its
// methods are safe for concurrent use; once one has failed, the client is gone
// or the server stops, and all others fail too.
type EventWriter struct {
	w *bufio.Writer
}

// Data sends one unnamed event; data is one line, usually JSON.
func (e *EventWriter) Data(data []byte) error {
	_, _ = e.w.WriteString("data: ")
	_, _ = e.w.Write(data)
	_, _ = e.w.WriteString("\n\n")
	return e.w.Flush()
}

// ServeEvents answers with an event stream written by f. The context given to
// f ends when the client is gone or the server stops; heartbeats are sent
// while f is silent. It returns at once, f runs after the handler.
func ServeEvents(c *fiber.Ctx, f func(ctx context.Context, w *EventWriter) error) error {
	ctx := c.UserContext()
	c.Set("Content-Type", "text/event-stream")
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) { _ = f(context.WithoutCancel(ctx), &EventWriter{w}) })
	return nil
}

// RefuseEvents answers with a status and one event, {"event":"error",
// "detail":text}, the way the mentor's stream refuses.
func RefuseEvents(c *fiber.Ctx, status int, text string) error {
	c.Status(status).Set("Content-Type", "text/event-stream")
	b := append([]byte("data: "), object("event", "error", "detail", text)...)
	return c.Send(append(b, "\n\n"...))
}
