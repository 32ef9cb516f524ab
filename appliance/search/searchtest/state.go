package searchtest

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

func certificate(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// index is one index.
type index struct {
	aliases  []string
	docs     map[string]map[string]any
	versions map[string]int64 // of deleted ones too
}

// state is what the server holds.
type state struct {
	mu      *sync.Mutex
	indices map[string]*index
}

func newState() state { return state{mu: &sync.Mutex{}, indices: map[string]*index{}} }

func (s state) make(name string, aliases ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indices[name] = &index{aliases: aliases, docs: map[string]map[string]any{}, versions: map[string]int64{}}
}

// resolve finds an index by its name or an alias.
func (s state) resolve(name string) (found *index, alias bool) {
	if i, ok := s.indices[name]; ok {
		return i, false
	}
	for _, i := range s.indices {
		if slices.Contains(i.aliases, name) {
			return i, true
		}
	}
	return nil, false
}

func (s state) docs(name string) (map[string]map[string]any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := s.resolve(name)
	if i == nil {
		return nil, false
	}
	out := make(map[string]map[string]any, len(i.docs))
	for id, d := range i.docs {
		out[id] = d
	}
	return out, true
}

func (s state) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, i := range s.indices {
		aliases := slices.Sorted(slices.Values(i.aliases))
		out = append(out, strings.Join(append([]string{name}, aliases...), " "))
	}
	slices.Sort(out)
	return out
}

func (s state) aliases(pattern string) (int, any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{}
	for name, i := range s.indices {
		if matched, _ := path.Match(pattern, name); !matched {
			continue
		}
		aliases := map[string]any{}
		for _, a := range i.aliases {
			aliases[a] = map[string]any{}
		}
		out[name] = map[string]any{"aliases": aliases}
	}
	return http.StatusOK, out
}

var acknowledged = map[string]any{"acknowledged": true}

func (s state) create(name string, body []byte) (int, any) {
	var in struct {
		Settings map[string]any            `json:"settings"`
		Mappings map[string]any            `json:"mappings"`
		Aliases  map[string]map[string]any `json:"aliases"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || in.Mappings["properties"] == nil {
		return fault(http.StatusBadRequest, "parse_exception", "not the body of an index")
	}
	s.mu.Lock()
	_, there := s.indices[name]
	s.mu.Unlock()
	if there {
		return fault(http.StatusBadRequest, "resource_already_exists_exception", name)
	}
	var aliases []string
	for a := range in.Aliases {
		aliases = append(aliases, a)
	}
	s.make(name, aliases...)
	return http.StatusOK, acknowledged
}

func (s state) remove(name string) (int, any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.indices[name]; !ok { // an alias cannot be deleted so
		return notFound(name)
	}
	delete(s.indices, name)
	return http.StatusOK, acknowledged
}

// change carries out all actions or none.
func (s state) change(body []byte) (int, any) {
	var in struct {
		Actions []map[string]struct{ Index, Alias string } `json:"actions"`
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Actions) == 0 {
		return fault(http.StatusBadRequest, "parse_exception", "no actions")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := map[string]bool{}
	for _, action := range in.Actions {
		for kind, a := range action {
			i := s.indices[a.Index]
			if i == nil {
				return notFound(a.Index)
			}
			switch kind {
			case "remove_index":
				gone[a.Index] = true
			case "add":
				if s.indices[a.Alias] != nil && !gone[a.Alias] {
					return fault(http.StatusBadRequest, "invalid_alias_name_exception", "an index exists with the same name as the alias")
				}
			case "remove":
				if !slices.Contains(i.aliases, a.Alias) {
					return fault(http.StatusNotFound, "aliases_not_found_exception", a.Alias)
				}
			default:
				return fault(http.StatusBadRequest, "illegal_argument_exception", kind)
			}
		}
	}
	for _, action := range in.Actions {
		for kind, a := range action {
			i := s.indices[a.Index]
			switch kind {
			case "remove_index":
				delete(s.indices, a.Index)
			case "add":
				i.aliases = append(i.aliases, a.Alias)
			case "remove":
				i.aliases = slices.DeleteFunc(i.aliases, func(have string) bool { return have == a.Alias })
			}
		}
	}
	return http.StatusOK, acknowledged
}
