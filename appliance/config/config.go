// Package config knows every setting: its names, default, unit, meaning,
// whether it is secret, and what a valid value is. One table says it all; the
// documents, the checks and the typed [Config] come from it.
//
// A value comes from a flag, else the environment, else the env file, else the
// default. A blank value counts as not given, except where the table says that
// it means "none". Every secret NAME may instead be
// given as NAME_FILE, the path of a file that holds it.
package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Providers of the language model.
const (
	ProviderMock   = "mock"
	ProviderOllama = "ollama"
	ProviderOpenAI = "openai"
)

// Config is the configuration of one process. [Load] makes it; it does not
// change afterwards, so it is safe for concurrent use. Printing it in any form
// shows no secret.
type Config struct {
	// Where it runs.
	Listen         []string       // addresses, "host:port"; at least one
	DataDir        string         // absolute
	RunAs          string         // user of the children when this process is root; empty: chosen
	Debug          bool           // development: guardrails warn instead of refusing
	Docker         bool           // this process runs in a container
	AllowedHosts   []string       // "*", "host", ".domain"
	TrustedProxies []netip.Prefix // whose X-Forwarded-* count
	TLSCertFile    string         // absolute; empty, as TLSKeyFile then is: plain HTTP
	TLSKeyFile     string         // absolute
	PublicBaseURL  string         // no slash at its end; empty: none
	CORSOrigins    []string       // "https://host"
	Location       *time.Location // "today" and wall clock times
	Instance       string         // name of this process's machine
	Commit         string         // revision shown to clients; empty: unknown
	MemoryLimit    int64          // bytes for Go's soft limit; 0: chosen from the machine, -1: none

	// Logs and numbers.
	LogLevel        slog.Level // of the machine room
	AppLogLevel     slog.Level // of the application
	RequestLogLevel slog.Level // of the line per request
	MetricsToken    Secret     // reads /metrics from anywhere; zero: loopback only

	// Accounts.
	SecretKey     Secret        // never zero, except after a ReadOnly Load before the first start
	JWTSigningKey Secret        // SecretKey unless given
	AccessLife    time.Duration // of access tokens
	RefreshLife   time.Duration // of refresh tokens
	AdminEmail    string        // defaults of "admin create"
	AdminName     string
	AdminPassword Secret

	// Limits. Rates are "N/period"; empty: no limit. Counts of 0: no limit.
	ThrottleIP     string
	ThrottleUser   string
	ThrottleAnon   string
	ThrottleMentor string
	RateLimits     bool // whether the bursts below are limited
	AuthRPSIP      int
	MentorRPSUser  int
	MentorRPSAll   int

	// Database.
	DatabaseURL         Secret // zero: managed
	DatabaseDirectURL   Secret // zero: DatabaseURL
	ImportFrom          Secret // the old backend's database, for selflink import
	DatabaseTLS         bool   // TLS is required; the URLs say so too
	ManagedPooler       bool   // a supervised pooler in front of an external database
	DatabasePoolSize    int    // most pooled connections of this process
	DatabaseDirectSize  int    // most direct connections of this process
	DatabaseServerConns int    // most connections of the managed pooler; 0: chosen from DatabasePoolSize
	DatabaseAcquireWait time.Duration
	DatabaseBootWait    time.Duration
	PostgresBinDir      string // empty: searched
	PgBouncerBin        string // empty: searched

	// Broker and jobs.
	BrokerMemory int64 // bytes
	BrokerDisk   int64 // bytes
	JobWorkers   int   // jobs at once in the queue "default"
	LLMWorkers   int   // jobs at once that wait for the language model
	NodeID       int   // number of this process in ids; -1: leased

	// Realtime.
	RealtimeConnections int    // most connections of this process
	RealtimeQueue       int    // KiB that may wait for one connection
	PublishToken        Secret // zero: nobody publishes from outside
	PublishRate         string // of one address; empty: no limit

	// Files.
	Storage StorageConfig

	// Backup.
	BackupSchedule string // cron expression of five fields, UTC; empty: none
	BackupDir      string // absolute
	BackupKeep     int    // archives in BackupDir

	// UpgradeSnapshot is whether a snapshot is taken before migrations.
	UpgradeSnapshot bool

	// Cluster.
	ClusterListen string   // "host:port"; empty: clustering is off
	ClusterPeers  []string // "host:port" of other nodes; this one may be among them
	ClusterToken  Secret   // the same on all nodes

	// Mentor.
	LLMEnabled        bool
	LLMProvider       string        // [ProviderMock], [ProviderOllama] or [ProviderOpenAI]
	LLMBaseURL        string        // as given; empty: the provider's own address
	LLMModel          string        // never empty
	LLMTimeout        time.Duration // of one generation
	LLMMaxTokens      int           // 0: no limit is sent
	LLMMaxPromptChars int
	LLMMaxMessages    int
	OpenAIKey         Secret
	OpenAIBaseURL     string        // ends in /v1 for OpenAI itself; no slash at its end
	OllamaHost        string        // URL without a slash at its end
	AsyncDefault      bool          // heavy endpoints answer 202 unless asked otherwise
	ChatWait          time.Duration // an asynchronous chat waits that long for its answer; 0: not at all
	MentorRetention   time.Duration // of conversations; 0: kept for ever

	// Payments. Addresses are empty when none is given.
	Payments             bool   // the master switch
	Stripe               bool   // whether Stripe is used, if Payments is on
	StripeKey            Secret // zero: nothing can be bought
	StripeWebhookSecrets Secret // a comma list, newest first; zero: no webhook is believed
	StripeCurrencies     []string
	StripeMinCents       int
	StripeSuccessURL     string // after a checkout of coins
	StripeCancelURL      string
	PaymentsSuccessURL   string // after any other, and where the two above are empty
	PaymentsCancelURL    string
	// Search.
	OpenSearch         bool   // people are searched for in OpenSearch first
	OpenSearchHost     string // a name or an address, without a port
	OpenSearchPort     int
	OpenSearchScheme   string // http or https
	OpenSearchUser     string
	OpenSearchPassword Secret // zero: no credentials are sent
	OpenSearchCA       string // file of certificates to trust; empty: the system's

	values []Value
	notes  []Note
	hidden []string // texts that must never be shown, see [Config.Hidden]
}

// Loopback reports whether only this machine can connect: every address of
// Listen is a loopback one.
func (c *Config) Loopback() bool {
	for _, address := range c.Listen {
		if !isLoopback(address) {
			return false
		}
	}
	return true
}

// Notes are what an operator should know although it stops nothing, in the
// order found. The server logs each once at its start.
func (c *Config) Notes() []Note { return append([]Note(nil), c.notes...) }

// Hidden are the secret texts in force, passwords inside URLs included, for a
// log that blots them out wherever they turn up.
func (c *Config) Hidden() []string { return append([]string(nil), c.hidden...) }

// Note is a remark about the configuration.
type Note struct {
	Level slog.Level // Info or Warn
	Key   string     // the setting it is about; empty: several
	Text  string     // without secrets
}
