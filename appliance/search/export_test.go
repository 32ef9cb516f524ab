package search

// Queries that the tests ask the planner about.
const (
	SelectNewest  = selectNewest
	SelectRare    = selectRare
	SelectWords   = selectWords
	SelectSimilar = selectSimilar
	NewestShort   = newestShort
)
