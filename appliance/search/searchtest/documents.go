package searchtest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// head is the first line of an action of a bulk.
type head struct {
	Index   string `json:"_index"`
	ID      string `json:"_id"`
	Version int64  `json:"version"`
	Type    string `json:"version_type"`
}

// bulk carries out a bulk, whose form it checks line by line.
func (s *Server) bulk(r *http.Request, body []byte) (int, any) {
	s.mu.Lock()
	s.bulks++
	s.mu.Unlock()
	bad := func(why string) (int, any) {
		s.t.Errorf("searchtest: a bulk that is none: %s in %q", why, body[:min(len(body), 300)])
		return fault(http.StatusBadRequest, "illegal_argument_exception", why)
	}
	if r.URL.Query().Get("require_alias") != "true" {
		return bad("it would make indices by itself")
	}
	if !bytes.HasSuffix(body, []byte("\n")) {
		return bad("the bulk request must be terminated by a newline")
	}
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	var items []any
	for i := 0; i < len(lines); i++ {
		var action map[string]head
		d := json.NewDecoder(bytes.NewReader(lines[i]))
		d.DisallowUnknownFields()
		if err := d.Decode(&action); err != nil || len(action) != 1 {
			return bad("line " + strconv.Itoa(i+1))
		}
		for kind, h := range action {
			var doc map[string]any
			switch kind {
			case "index":
				i++
				if i >= len(lines) || json.Unmarshal(lines[i], &doc) != nil {
					return bad("no document follows")
				}
			case "delete":
			default:
				return bad(kind)
			}
			if h.Index == "" || h.ID == "" || h.Version <= 0 || h.Type != "external_gte" {
				return bad("an action is not whole")
			}
			items = append(items, map[string]any{kind: s.state.write(h, doc)})
		}
	}
	return http.StatusOK, map[string]any{"took": 1, "errors": false, "items": items}
}

// write carries out one action.
func (s state) write(h head, doc map[string]any) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := func(status int, kind string) map[string]any {
		out := map[string]any{"_index": h.Index, "_id": h.ID, "status": status}
		if kind != "" {
			out["error"] = map[string]any{"type": kind, "reason": "[" + h.ID + "]"}
		}
		return out
	}
	i, alias := s.resolve(h.Index)
	switch {
	case i == nil || !alias:
		return item(http.StatusNotFound, "index_not_found_exception")
	case h.Version < i.versions[h.ID]:
		return item(http.StatusConflict, "version_conflict_engine_exception")
	}
	i.versions[h.ID] = h.Version
	_, there := i.docs[h.ID]
	switch {
	case doc == nil && there:
		delete(i.docs, h.ID)
	case doc == nil:
		return item(http.StatusNotFound, "")
	default:
		i.docs[h.ID] = doc
	}
	return item(http.StatusOK, "")
}

// query is the search that we send, and no other.
type query struct {
	From   *int  `json:"from"`
	Size   *int  `json:"size"`
	Source *bool `json:"_source"`
	Total  *bool `json:"track_total_hits"`
	Query  struct {
		MultiMatch struct {
			Query  string   `json:"query"`
			Fields []string `json:"fields"`
		} `json:"multi_match"`
	} `json:"query"`
}

// search finds documents with any of the words: those with more of them in
// better fields first, and of equals the first written.
func (s *Server) search(name string, body []byte, mode Mode) (int, any) {
	var q query
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil || q.Size == nil || q.From == nil {
		s.t.Errorf("searchtest: a search that is none: %s", body)
		return fault(http.StatusBadRequest, "parsing_exception", "not a search")
	}
	docs, ok := s.state.docs(name)
	if !ok {
		return notFound(name)
	}
	type hit struct {
		id    string
		score float64
	}
	var hits []hit
	for id, doc := range docs {
		if score := q.score(doc); score > 0 {
			hits = append(hits, hit{id, score})
		}
	}
	sort.Slice(hits, func(a, b int) bool {
		if hits[a].score != hits[b].score {
			return hits[a].score > hits[b].score
		}
		return hits[a].id < hits[b].id
	})
	hits = hits[min(*q.From, len(hits)):]
	hits = hits[:min(*q.Size, len(hits))]
	found := make([]any, 0, len(hits))
	for _, h := range hits {
		found = append(found, map[string]any{"_index": name, "_id": h.id, "_score": h.score})
	}
	failed := 0
	if mode == Red {
		failed = 1
	}
	return http.StatusOK, map[string]any{
		"took": 1, "timed_out": mode == TimedOut, "_shards": map[string]any{"total": 1, "failed": failed},
		"hits": map[string]any{"hits": found},
	}
}

func (q query) score(doc map[string]any) float64 {
	best := 0.0
	for _, field := range q.Query.MultiMatch.Fields {
		name, boost, boosted := strings.Cut(field, "^")
		weight := 1.0
		if boosted {
			weight, _ = strconv.ParseFloat(boost, 64) //nolint:errcheck // 0 finds nothing, which tests see
		}
		text, _ := doc[name].(string)
		score := 0.0
		if name == "handle" { // a keyword
			if text == q.Query.MultiMatch.Query {
				score = weight
			}
		} else {
			words := strings.Fields(strings.ToLower(text))
			for _, word := range strings.Fields(strings.ToLower(q.Query.MultiMatch.Query)) {
				if slices.Contains(words, word) {
					score += weight
				}
			}
		}
		best = max(best, score)
	}
	return best
}
