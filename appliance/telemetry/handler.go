package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// Names of the fields (contract 00 §12).
const (
	keyTime      = "asctime"
	keyLevel     = "levelname"
	keyName      = "name"
	keyMessage   = "message"
	keyRequest   = "request_id"
	keyUser      = "user_id"
	keyJob       = "job_id"
	keyComponent = "component"

	// rootName is the logger's name, to which a dot and the component are
	// added.
	rootName = "selflink"

	// timeLayout is RFC 3339 in UTC with milliseconds: it sorts as text and
	// means the same everywhere.
	timeLayout = "2006-01-02T15:04:05.000Z"

	// requestComponent writes a line per request.
	requestComponent = "http"
)

// machineRoom lists the components below the services.
func machineRoom() []string {
	return []string{"database", "broker", "jobs", "schedule", "cache", "snowflake", "health", "trace", "history", "postgres", "pgbouncer", "config"}
}

// handler renames, correlates and redacts, and hands the rest to slog's JSON
// handler. It is immutable, so safe for concurrent use.
type handler struct {
	json   slog.Handler
	masker *masker
	opts   Options

	least slog.Level // of this component
	top   top        // what was fixed by With outside of any group
	// scopes are the open groups, the outermost first; the first entry is the
	// top level, which has no name.
	scopes []scope
}

// scope is a group and the attributes fixed in it.
type scope struct {
	name  string
	attrs []slog.Attr
}

// top are the fields that belong to the top level whatever groups are open.
type top struct {
	component, request, user, job slog.Value
}

func newHandler(o Options) *handler {
	rename := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.TimeKey:
			a.Key = keyTime
			if a.Value.Kind() == slog.KindTime {
				a.Value = slog.StringValue(a.Value.Time().UTC().Format(timeLayout))
			}
		case slog.LevelKey:
			a.Key = keyLevel
			if l, ok := a.Value.Any().(slog.Level); ok {
				a.Value = slog.StringValue(levelName(l))
			}
		case slog.MessageKey:
			a.Key = keyMessage
		}
		return a
	}
	out := o.Out
	if o.Tail != nil {
		out = tee{o.Out, o.Tail}
	}
	return &handler{
		json: slog.NewJSONHandler(out, &slog.HandlerOptions{
			Level:       min(o.Level, o.App, o.Request),
			ReplaceAttr: rename,
		}),
		masker: newMasker(o.Hidden),
		opts:   o,
		least:  o.Level,
		scopes: []scope{{}},
	}
}

// levelName gives the names that readers of the old log know.
func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARNING"
	}
	return "ERROR"
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.least }

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.scopes = append(slices.Clone(h.scopes), scope{name: name})
	return &c
}

// WithAttrs implements slog.Handler. The attributes are redacted once, here.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	c.scopes = slices.Clone(h.scopes)
	last := &c.scopes[len(c.scopes)-1]
	last.attrs = slices.Clone(last.attrs)
	for _, a := range attrs {
		if len(c.scopes) == 1 && c.top.take(a, h.masker) {
			continue
		}
		last.attrs = append(last.attrs, h.masker.attr(a))
	}
	c.least = c.leastOf(c.top.component)
	return &c
}

// leastOf is the level from which on a component is heard.
func (h *handler) leastOf(component slog.Value) slog.Level {
	name := text(component)
	switch {
	case name == requestComponent:
		return h.opts.Request
	case name == "" || slices.Contains(machineRoom(), name):
		return h.opts.Level
	}
	return h.opts.App
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	fields := h.top
	var own []slog.Attr
	r.Attrs(func(a slog.Attr) bool {
		if len(h.scopes) > 1 || !fields.take(a, h.masker) {
			own = append(own, h.masker.attr(a))
		}
		return true
	})
	fields.complete(ctx, h.masker)

	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	out := slog.NewRecord(at, r.Level, h.masker.text(r.Message), 0)
	name := rootName
	if c := text(fields.component); c != "" {
		name += "." + c
	}
	out.AddAttrs(slog.String(keyName, name), slog.Attr{Key: keyRequest, Value: fields.request})
	for _, f := range []slog.Attr{
		{Key: keyComponent, Value: fields.component}, {Key: keyUser, Value: fields.user}, {Key: keyJob, Value: fields.job},
	} {
		if given(f.Value) {
			out.AddAttrs(f)
		}
	}
	for i := len(h.scopes) - 1; i >= 0; i-- {
		s := h.scopes[i]
		own = append(slices.Clone(s.attrs), own...)
		if s.name != "" {
			own = []slog.Attr{group(s.name, own)}
		}
	}
	for _, a := range own {
		if reserved(a.Key) {
			a.Key += "_" // or a reader of the line would take it for ours
		}
		out.AddAttrs(a)
	}
	return h.json.Handle(ctx, out)
}

// group nests redacted attributes; the group's own name counts too.
func group(name string, attrs []slog.Attr) slog.Attr {
	switch verdict(name) {
	case null:
		return slog.Any(name, nil)
	case blank:
		return slog.String(name, blanked)
	}
	return slog.Attr{Key: name, Value: slog.GroupValue(attrs...)}
}

// reserved reports whether a top-level field of that name is ours.
func reserved(key string) bool {
	switch key {
	case keyTime, keyLevel, keyName, keyMessage, keyRequest, keyComponent, keyUser, keyJob,
		slog.TimeKey, slog.LevelKey, slog.MessageKey:
		return true
	}
	return false
}

// take keeps an attribute that is one of the fixed fields.
func (t *top) take(a slog.Attr, m *masker) bool {
	var field *slog.Value
	switch a.Key {
	case keyComponent:
		field = &t.component
	case keyRequest:
		field = &t.request
	case keyUser:
		field = &t.user
	case keyJob:
		field = &t.job
	default:
		return false
	}
	*field = m.value(a.Value)
	return true
}

// complete adds what the context knows and no attribute said.
func (t *top) complete(ctx context.Context, m *masker) {
	if ctx == nil {
		return
	}
	if id, ok := ctx.Value(RequestKey{}).(string); ok && id != "" && !given(t.request) {
		t.request = slog.StringValue(m.text(id))
	}
	if id, ok := ctx.Value(UserKey{}).(int64); ok && !given(t.user) {
		t.user = slog.Int64Value(id)
	}
	if id, ok := ctx.Value(jobKey{}).(string); ok && id != "" && !given(t.job) {
		t.job = slog.StringValue(m.text(id))
	}
}

func given(v slog.Value) bool {
	return v.Kind() != slog.KindAny || v.Any() != nil
}

func text(v slog.Value) string {
	if !given(v) {
		return ""
	}
	return v.String()
}

var _ slog.Handler = (*handler)(nil)
