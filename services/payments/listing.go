package payments

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"selflink/appliance/httpapi"
)

// column is a field that a list may be ordered by. Its key is a text that is
// ordered like the field.
type column[R any] struct {
	name string
	key  func(R) string
}

// number, flag and moment write keys.
func number(n int64) string { return fmt.Sprintf("%020d", n) } // of what is not negative

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return number(max(t.UnixMicro(), 0))
}

// paginate makes a page of rows that are all here: there are few plans, and few
// subscriptions of one person. The first column is the usual order, newest
// first.
func paginate[R, T any](ctx context.Context, in httpapi.PageQuery, rows []R, columns []column[R], id func(R) int64, item func(R) T) (httpapi.Page[T], error) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	k, err := in.Keyset(httpapi.Newest, names...)
	if err != nil {
		return httpapi.Page[T]{}, err
	}
	by := columns[max(slices.Index(names, k.Order.Field), 0)]
	compare := func(aKey string, aID int64, bKey string, bID int64) int {
		c := cmp.Or(cmp.Compare(aKey, bKey), cmp.Compare(aID, bID))
		if k.Desc() {
			return -c
		}
		return c
	}
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b R) int { return compare(by.key(a), id(a), by.key(b), id(b)) })
	if k.Set {
		rows = slices.DeleteFunc(rows, func(r R) bool { return compare(by.key(r), id(r), k.Key, k.ID) <= 0 })
	}
	rows = rows[:min(len(rows), k.Limit)]
	return httpapi.BuildPage(ctx, k, rows, func(r R) (string, int64) { return by.key(r), id(r) }, item), nil
}

// nobody is the page of a list that is switched off.
func nobody[T any]() httpapi.Page[T] { return httpapi.Page[T]{Results: []T{}} }
