package telemetry

import "context"

// The keys of a context's values, for contexts that look their values up by
// themselves: all others come from [WithRequest], [WithUser] and [WithJob].
type (
	RequestKey struct{} // a string
	UserKey    struct{} // an int64
	jobKey     struct{}
)

// WithRequest returns a context whose log lines carry request_id.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, RequestKey{}, id)
}

// WithUser returns a context whose log lines carry user_id. It takes the id
// rather than an account, so that nothing personal can slip in.
func WithUser(ctx context.Context, id int64) context.Context {
	return context.WithValue(ctx, UserKey{}, id)
}

// WithJob returns a context whose log lines carry job_id.
func WithJob(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, jobKey{}, id)
}

// RequestID is the id that [WithRequest] put into ctx, or nothing.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(RequestKey{}).(string)
	return id
}
