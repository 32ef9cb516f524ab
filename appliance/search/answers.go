package search

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The decoders take nothing for granted: whatever speaks HTTP at the address
// may have written what they get.

// failure is the error in an answer, of the whole request or of one item.
type failure struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// reasonMost bounds what is told of a server's own words, in bytes.
const reasonMost = 200

func (f failure) String() string {
	text := f.Type
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	if text == "" {
		return "without a reason"
	}
	text = strings.ToValidUTF8(text[:min(len(text), reasonMost)], "")
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// reasonOf reads why a request failed. Some errors are a text, most an object.
func reasonOf(body []byte) failure {
	var a struct {
		Error json.RawMessage `json:"error"`
	}
	var f failure
	if json.Unmarshal(body, &a) != nil || json.Unmarshal(a.Error, &f) != nil {
		return failure{}
	}
	return f
}

// decodeHits reads the ids of an answer to a search, at most most of them. An
// answer that is not of all shards, or not in time, is none.
func decodeHits(body []byte, most int) ([]int64, error) {
	var a struct {
		TimedOut bool `json:"timed_out"`
		Shards   *struct {
			Failed int `json:"failed"`
		} `json:"_shards"`
		Hits *struct {
			Hits []struct {
				ID string `json:"_id"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: its answer is no JSON of a search: %w", ErrServer, err)
	}
	switch {
	case a.Hits == nil || a.Shards == nil:
		return nil, fmt.Errorf("%w: its answer is not that to a search", ErrServer)
	case a.TimedOut:
		return nil, fmt.Errorf("%w: the search was broken off for its time", ErrServer)
	case a.Shards.Failed > 0:
		return nil, fmt.Errorf("%w: %d shards failed", ErrServer, a.Shards.Failed)
	case len(a.Hits.Hits) > most:
		return nil, fmt.Errorf("%w: it found more than it was asked for", ErrServer)
	}
	ids := make([]int64, 0, len(a.Hits.Hits))
	for _, hit := range a.Hits.Hits {
		id, err := strconv.ParseInt(hit.ID, 10, 64)
		if err != nil || id <= 0 {
			return nil, fmt.Errorf("%w: it found something that is no account", ErrServer)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Types of failures that mean that an index is not there.
const (
	noIndex = "index_not_found_exception"
	noAlias = "aliases_not_found_exception"
)

// bulkItem is what became of one action.
type bulkItem struct {
	index  string
	id     string
	status int
	err    failure
}

// missing reports that the index or alias of the item is not there, which is
// another 404 than that of a deleted document that was not.
func (i bulkItem) missing() bool {
	return i.status == http.StatusNotFound && (i.err.Type == noIndex || i.err.Type == noAlias)
}

// decodeBulk reads the answer to want actions.
func decodeBulk(body []byte, want int) ([]bulkItem, error) {
	var a struct {
		Items []map[string]struct {
			Index  string   `json:"_index"`
			ID     string   `json:"_id"`
			Status int      `json:"status"`
			Error  *failure `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: its answer is no JSON of a bulk: %w", ErrServer, err)
	}
	if len(a.Items) != want {
		return nil, fmt.Errorf("%w: it answered %d of %d actions", ErrServer, len(a.Items), want)
	}
	items := make([]bulkItem, 0, want)
	for _, entry := range a.Items {
		if len(entry) != 1 {
			return nil, fmt.Errorf("%w: an item of its answer is not one", ErrServer)
		}
		for _, e := range entry {
			item := bulkItem{index: e.Index, id: e.ID, status: e.Status}
			if e.Error != nil {
				item.err = *e.Error
			}
			if item.status < 200 || item.status > 599 {
				return nil, fmt.Errorf("%w: an item of its answer has no status", ErrServer)
			}
			items = append(items, item)
		}
	}
	return items, nil
}

// decodeAliases reads which indices there are, each with its aliases.
func decodeAliases(body []byte) (map[string][]string, error) {
	var a map[string]struct {
		Aliases map[string]json.RawMessage `json:"aliases"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: its answer is no JSON of aliases: %w", ErrServer, err)
	}
	out := make(map[string][]string, len(a))
	for index, entry := range a {
		names := make([]string, 0, len(entry.Aliases))
		for name := range entry.Aliases {
			names = append(names, name)
		}
		out[index] = names
	}
	return out, nil
}
