package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxParams is how many parameters a path may have.
const maxParams = 4

// maxSegments bounds the depth of the tree, and so the work per request.
const maxSegments = 16

// router finds the resource of a path. It is a tree over the segments between
// slashes, in which a literal segment wins over a parameter; so the order in
// which services register does not matter, and the time to find a path depends
// on its length alone. It is read-only once the server has started.
type router struct {
	root node
	all  []*resource
}

type node struct {
	literal map[string]*node
	param   *node
	res     *resource // of a path that ends here without a slash
	slash   *resource // of a path that ends here with one
}

// resource is one path with all its methods.
type resource struct {
	path     string
	params   []string
	name     string // for people, in answers to OPTIONS
	allow    []byte // the Allow header
	methods  map[string]*route
	first    *route // registered first: its rules hold for methods that are not there
	optional bool   // accepts the path without its last slash too
}

// add finds or makes the resource of path.
func (r *router) add(path string) (*resource, error) {
	n := &r.root
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(segments) > maxSegments {
		return nil, fmt.Errorf("more than %d segments", maxSegments)
	}
	slash := segments[len(segments)-1] == ""
	if slash {
		segments = segments[:len(segments)-1]
	}
	var params []string
	for _, seg := range segments {
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			if slices.Contains(params, name) || len(params) == maxParams {
				return nil, fmt.Errorf("parameter %q: repeated, or more than %d", name, maxParams)
			}
			params = append(params, name)
			if n.param == nil {
				n.param = new(node)
			}
			n = n.param
			continue
		}
		if n.literal == nil {
			n.literal = make(map[string]*node)
		}
		next := n.literal[seg]
		if next == nil {
			next = new(node)
			n.literal[seg] = next
		}
		n = next
	}
	at := &n.res
	if slash {
		at = &n.slash
	}
	if *at == nil {
		*at = &resource{path: path, params: params, name: title(segments), methods: make(map[string]*route)}
		r.all = append(r.all, *at)
	}
	if !slices.Equal((*at).params, params) {
		return nil, fmt.Errorf("parameters of %s are called %v elsewhere", path, (*at).params)
	}
	return *at, nil
}

// match is the outcome of a search.
type match struct {
	res *resource
	// slashless is set when only the path with a slash at its end exists; res
	// is that one's.
	slashless bool
}

// find looks path up and fills params with the texts of its parameters, which
// share path's memory unless they had to be unescaped.
func (r *router) find(path string, params *[maxParams]string) (match, bool) {
	if path == "" || path[0] != '/' {
		return match{}, false
	}
	return r.root.find(path[1:], params, 0)
}

func (n *node) find(rest string, params *[maxParams]string, used int) (match, bool) {
	seg, after, more := strings.Cut(rest, "/")
	if seg == "" {
		at := n.slash
		if at == nil {
			at = n.res // a path that is registered without a slash takes one
		}
		return match{res: at}, at != nil && !more
	}
	if strings.IndexByte(seg, '%') >= 0 {
		s, err := url.PathUnescape(seg)
		if err != nil {
			return match{}, false
		}
		seg = s
	}
	if next := n.literal[seg]; next != nil {
		if m, ok := next.below(after, more, params, used); ok {
			return m, true
		}
	}
	if n.param != nil && used < maxParams {
		params[used] = seg
		return n.param.below(after, more, params, used+1)
	}
	return match{}, false
}

// below goes on in n with what follows its segment.
func (n *node) below(after string, more bool, params *[maxParams]string, used int) (match, bool) {
	if more {
		return n.find(after, params, used)
	}
	switch {
	case n.res != nil:
		return match{res: n.res}, true
	case n.slash != nil:
		return match{res: n.slash, slashless: !n.slash.optional}, true
	}
	return match{}, false
}

// title makes the display name of a resource from its last literal segment:
// "task-status" becomes "Task Status".
func title(segments []string) string {
	name := "Api Root"
	for _, seg := range segments {
		if seg != "" && seg[0] != '{' && seg != "v1" && seg != "api" {
			name = seg
		}
	}
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' || r == ' ' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}
