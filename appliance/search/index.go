package search

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Document is one document, or the absence of one.
type Document struct {
	ID      int64
	Version int64           // of two the greater counts, whichever arrives first
	Body    json.RawMessage // nil: there is none
}

// bulkBytes is the size from which a bulk is sent.
const bulkBytes = 4 << 20

// Search implements [Engine] by the query of contract 04 §11. It knows nothing
// of the viewer. Its errors are [ErrServer], [ErrNoIndex] and [ErrRefused].
func (s *OpenSearch) Search(ctx context.Context, q Query) ([]int64, error) {
	body, err := json.Marshal(map[string]any{
		"from": q.Offset, "size": q.Limit, "_source": false, "track_total_hits": false,
		"query": map[string]any{"multi_match": map[string]any{"query": q.Text, "fields": s.o.Fields}},
	})
	if err != nil {
		return nil, fmt.Errorf("search: encode the query: %w", err)
	}
	a, err := s.ask(ctx, http.MethodPost, "/"+s.o.Alias+"/_search", typeJSON, body)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusNotFound && reasonOf(a.body).Type == noIndex {
		return nil, ErrNoIndex
	}
	if a.status != http.StatusOK {
		return nil, refused(a)
	}
	return decodeHits(a.body, q.Limit)
}

// next is the alias of the index that is being built.
func (s *OpenSearch) next() string { return s.o.Alias + "_next" }

// Put writes documents into the index that is searched, and into the one that
// is being built when there is one. The caller has read each document after it
// knew its version. It fails with [ErrConflict] when of any of them something
// newer is there, and with [ErrNoIndex] when there is no index to search.
func (s *OpenSearch) Put(ctx context.Context, docs ...Document) error {
	items, err := s.bulk(ctx, []string{s.o.Alias, s.next()}, docs)
	if err != nil {
		return err
	}
	missing, conflict := false, false
	for i, item := range items {
		building := i%2 == 1
		switch {
		case item.missing() && building: // nothing is being built
		case item.missing():
			missing = true
		case item.status == http.StatusConflict:
			conflict = true
		default:
			if err := item.failed(); err != nil {
				return err
			}
		}
	}
	switch {
	case missing:
		return ErrNoIndex
	case conflict:
		return ErrConflict
	}
	return nil
}

// failed is the error of an item that did not succeed.
func (i bulkItem) failed() error {
	switch {
	case i.status < 300, i.status == http.StatusNotFound && i.err.Type == "": // deleted, or was not there
		return nil
	case i.status == http.StatusTooManyRequests || i.status >= 500:
		return fmt.Errorf("%w: status %d for document %s, %s", ErrServer, i.status, i.id, i.err)
	}
	return fmt.Errorf("%w document %s: status %d, %s", ErrRefused, i.id, i.status, i.err)
}

// bulk writes docs into each of the aliases. Those that are not there are not
// made: their items say so.
func (s *OpenSearch) bulk(ctx context.Context, aliases []string, docs []Document) ([]bulkItem, error) {
	var all []bulkItem
	var b bytes.Buffer
	count := 0
	send := func() error {
		if count == 0 {
			return nil
		}
		a, err := s.ask(ctx, http.MethodPost, "/_bulk?require_alias=true", typeNDJSON, b.Bytes())
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return refused(a)
		}
		items, err := decodeBulk(a.body, count)
		all = append(all, items...)
		b, count = bytes.Buffer{}, 0 // the client may hold on to the old one
		return err
	}
	for _, d := range docs {
		for _, alias := range aliases {
			action := "index"
			if d.Body == nil {
				action = "delete"
			}
			head, err := json.Marshal(map[string]any{action: map[string]any{
				"_index": alias, "_id": strconv.FormatInt(d.ID, 10), "version": d.Version, "version_type": "external_gte",
			}})
			if err != nil {
				return nil, fmt.Errorf("search: encode an action: %w", err)
			}
			b.Write(head)
			b.WriteByte('\n')
			if d.Body != nil {
				if err := json.Compact(&b, d.Body); err != nil { // a document is one line
					return nil, fmt.Errorf("search: encode document %d: %w", d.ID, err)
				}
				b.WriteByte('\n')
			}
			count++
		}
		if b.Len() >= bulkBytes {
			if err := send(); err != nil {
				return nil, err
			}
		}
	}
	return all, send()
}

// Indices are those of one alias.
type Indices struct {
	Live   string   // that is searched; empty: none
	Next   string   // that is being built; empty: none
	Direct bool     // Live is no alias: an old installation made it so
	Stray  []string // what broken off builds left
}

// madeHere is how the names of our indices end.
var madeHere = regexp.MustCompile(`^_\d{17}$`)

// Indices looks up which index is which.
func (s *OpenSearch) Indices(ctx context.Context) (Indices, error) {
	a, err := s.ask(ctx, http.MethodGet, "/"+url.PathEscape(s.o.Alias+"*")+"/_alias", "", nil)
	if err != nil {
		return Indices{}, err
	}
	if a.status == http.StatusNotFound {
		return Indices{}, nil
	}
	if a.status != http.StatusOK {
		return Indices{}, refused(a)
	}
	known, err := decodeAliases(a.body)
	if err != nil {
		return Indices{}, err
	}
	var out Indices
	for index, aliases := range known {
		switch {
		case index == s.o.Alias:
			out.Live, out.Direct = index, true
		case slices.Contains(aliases, s.o.Alias):
			out.Live = index
		case slices.Contains(aliases, s.next()):
			out.Next = index
		case len(index) > len(s.o.Alias) && index[:len(s.o.Alias)] == s.o.Alias && madeHere.MatchString(index[len(s.o.Alias):]):
			out.Stray = append(out.Stray, index)
		}
	}
	slices.Sort(out.Stray)
	return out, nil
}

// acknowledged reads the answer to a change of indices.
func acknowledged(what string, a answer, err error) error {
	if err == nil && a.status != http.StatusOK {
		err = refused(a)
	}
	var ok struct {
		Acknowledged bool `json:"acknowledged"`
	}
	if err == nil && (json.Unmarshal(a.body, &ok) != nil || !ok.Acknowledged) {
		err = fmt.Errorf("%w: not all nodes have done it", ErrServer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Begin makes an empty index that is being built from now on, and returns its
// name. What [OpenSearch.Put] writes afterwards goes there too.
func (s *OpenSearch) Begin(ctx context.Context, now time.Time) (string, error) {
	name := s.o.Alias + "_" + now.UTC().Format("20060102150405") + fmt.Sprintf("%03d", now.Nanosecond()/1e6)
	var body map[string]any
	if err := json.Unmarshal([]byte(s.o.Mapping), &body); err != nil {
		return "", fmt.Errorf("search: read the mapping: %w", err)
	}
	body["aliases"] = map[string]any{s.next(): map[string]any{}}
	encoded, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("search: encode the mapping: %w", err)
	}
	a, err := s.ask(ctx, http.MethodPut, "/"+name, typeJSON, encoded)
	return name, acknowledged("make the index "+name, a, err)
}

// Fill writes documents into the index that is being built. What is newer
// there stays. It fails with [ErrNoIndex] when nothing is being built any more.
func (s *OpenSearch) Fill(ctx context.Context, docs []Document) error {
	items, err := s.bulk(ctx, []string{s.next()}, docs)
	if err != nil {
		return err
	}
	for _, item := range items {
		switch {
		case item.missing():
			return ErrNoIndex
		case item.status == http.StatusConflict: // a job was faster
		default:
			if err := item.failed(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Swap makes the index that was built the one that is searched, in one step,
// and deletes the one that was. Searches go on all the time.
func (s *OpenSearch) Swap(ctx context.Context, built string) error {
	a, err := s.ask(ctx, http.MethodPost, "/"+built+"/_refresh", typeJSON, []byte("{}"))
	if err == nil && a.status != http.StatusOK {
		err = refused(a)
	}
	if err != nil {
		return fmt.Errorf("make the documents of %s visible: %w", built, err)
	}
	now, err := s.Indices(ctx)
	if err != nil {
		return err
	}
	actions := []any{
		map[string]any{"add": map[string]any{"index": built, "alias": s.o.Alias}},
		map[string]any{"remove": map[string]any{"index": built, "alias": s.next()}},
	}
	switch {
	case now.Direct:
		actions = append([]any{map[string]any{"remove_index": map[string]any{"index": now.Live}}}, actions...)
	case now.Live != "" && now.Live != built:
		actions = append([]any{map[string]any{"remove": map[string]any{"index": now.Live, "alias": s.o.Alias}}}, actions...)
	}
	body, err := json.Marshal(map[string]any{"actions": actions})
	if err != nil {
		return fmt.Errorf("search: encode the swap: %w", err)
	}
	a, err = s.ask(ctx, http.MethodPost, "/_aliases", typeJSON, body)
	if err := acknowledged("put "+built+" in the place of the old index", a, err); err != nil {
		return err
	}
	if now.Direct || now.Live == "" || now.Live == built {
		return nil
	}
	return s.Drop(ctx, now.Live)
}

// Drop deletes an index. One that is not there is no error.
func (s *OpenSearch) Drop(ctx context.Context, index string) error {
	a, err := s.ask(ctx, http.MethodDelete, "/"+url.PathEscape(index), "", nil)
	if err == nil && a.status == http.StatusNotFound {
		return nil
	}
	return acknowledged("delete the index "+index, a, err)
}

// Health is what the server says of itself and of the index.
type Health struct {
	Status    string // green, yellow or red; of the index
	Documents int64
	Indices
}

// Health asks how the index is. It fails with [ErrNoIndex] when there is none
// to search; what is known by then is returned too.
func (s *OpenSearch) Health(ctx context.Context) (Health, error) {
	var h Health
	var err error
	if h.Indices, err = s.Indices(ctx); err != nil {
		return h, err
	}
	if h.Live == "" {
		return h, ErrNoIndex
	}
	a, err := s.ask(ctx, http.MethodGet, "/_cluster/health/"+url.PathEscape(h.Live)+"?timeout=1s", "", nil)
	if err != nil {
		return h, err
	}
	var state struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(a.body, &state) != nil || !slices.Contains([]string{"green", "yellow", "red"}, state.Status) {
		return h, fmt.Errorf("%w: it does not say how the index is", ErrServer)
	}
	if h.Status = state.Status; h.Status == "red" {
		return h, fmt.Errorf("%w: the index %s is red, so parts of it are not there", ErrServer, h.Live)
	}
	if a, err = s.ask(ctx, http.MethodGet, "/"+url.PathEscape(h.Live)+"/_count", "", nil); err != nil {
		return h, err
	}
	var count struct {
		Count *int64 `json:"count"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &count) != nil || count.Count == nil {
		return h, fmt.Errorf("%w: it does not say how many documents there are", ErrServer)
	}
	h.Documents = *count.Count
	return h, nil
}
