package config

// Setting is a row of the table.
type Setting struct {
	Key     string
	Aliases []string // other accepted names, the preferred first
	Group   Group
	Default string // the value when none is given
	Auto    string // what happens instead when Default is empty, in words
	Unit    string // of a number
	Doc     string // one or two sentences
	Secret  bool
	Blank   bool // a blank value is a value, not a missing one
	Status  Status

	// set parses a value into its field. Rows that are not [Used] have none.
	set func(c *Config, raw string) error
	// check says what is wrong with a value of a row that is not used but must
	// not be nonsense either. nil: anything goes.
	check func(raw string) error
	// show masks the secret parts of a value. nil: all of a secret, nothing
	// of others.
	show func(raw string) string
}

// Group is a chapter of the documents.
type Group string

// The groups, in the order of the documents.
const (
	Core       Group = "Core"
	Logs       Group = "Logs and metrics"
	Accounts   Group = "Accounts"
	Limits     Group = "Limits"
	Database   Group = "Database"
	Jobs       Group = "Broker and jobs"
	Files      Group = "Files"
	Backup     Group = "Backup"
	Clustering Group = "Cluster"
	Realtime   Group = "Realtime"
	Mentor     Group = "Mentor"
	Payments   Group = "Payments"
	Search     Group = "Search"
	Other      Group = "Accepted from older installations"
)

// Groups are the chapters in the order of the documents; the last is [Other].
func Groups() []Group { return groups() }

func groups() []Group {
	return []Group{Core, Logs, Accounts, Limits, Database, Jobs, Files, Backup, Clustering, Realtime, Mentor, Search, Payments, Other}
}

// Status says what becomes of a setting.
type Status int

// The statuses. All but Used are accepted so that an old env file works as it
// is, and reported once.
const (
	Used     Status = iota
	Later           // belongs to a part that this version does not have
	Replaced        // spoke of Redis or Celery: the embedded broker does it
	Obsolete        // spoke of processes and containers that are gone
)

// note is the text of the one remark about all given settings of a status.
func (s Status) note() string {
	switch s {
	case Later:
		return "not used by this version"
	case Replaced:
		return "replaced by the embedded broker"
	case Obsolete:
		return "no longer needed"
	default:
		return ""
	}
}

// Settings returns the table.
func Settings() []Setting {
	all := [][]Setting{
		coreTable(), tlsTable(), accountTable(), storeTable(), storageTable(), backupTable(), clusterTable(), realtimeTable(), mentorTable(), searchTable(), paymentTable(),
		laterTable(), moneyTable(), replacedTable(), obsoleteTable(),
	}
	var out []Setting
	for _, part := range all {
		out = append(out, part...)
	}
	return out
}

// into makes a setter out of a field and a parser.
func into[T any](field func(c *Config) *T, parse func(raw string) (T, error)) func(*Config, string) error {
	return func(c *Config, raw string) error {
		v, err := parse(raw)
		if err != nil {
			return err
		}
		*field(c) = v
		return nil
	}
}

// names gives every name of the setting, the key first.
func (s Setting) names() []string { return append([]string{s.Key}, s.Aliases...) }

// shown is a value as it may be printed.
func (s Setting) shown(raw string) string {
	switch {
	case raw == "":
		return ""
	case s.show != nil:
		return s.show(raw)
	case s.Secret:
		return masked
	default:
		return raw
	}
}
