package mentor

// Async decides as the routes do.
func Async(sync, query, header string, byDefault bool) bool {
	return flow{XSync: sync, Async: query, XAsync: header}.async(byDefault)
}
