package config

// publishToken opens the one endpoint that publishes from outside.
const publishToken = "REALTIME_PUBLISH_TOKEN"

// realtimeTable is about connections that are told what happens.
func realtimeTable() []Setting {
	return []Setting{
		{Key: "REALTIME_MAX_CONNECTIONS", Group: Realtime, Default: "20000", Unit: "connections",
			Doc: "Most WebSockets and event streams of this process together. Each needs a file descriptor.",
			set: into(func(c *Config) *int { return &c.RealtimeConnections }, parseInt(1, 1_000_000))},
		{Key: "REALTIME_QUEUE_KB", Group: Realtime, Default: "256", Unit: "KiB",
			Doc: "Most that waits for one connection that reads slowly; beyond it the connection is cut and told to come back.",
			set: into(func(c *Config) *int { return &c.RealtimeQueue }, parseInt(16, 64*1024))},
		{Key: publishToken, Group: Realtime, Secret: true, Auto: "none: nobody can publish from outside",
			Doc: "Bearer token for POST /internal/publish.",
			set: into(func(c *Config) *Secret { return &c.PublishToken }, parseSecret)},
		{Key: "REALTIME_PUBLISH_RATE_LIMIT", Group: Realtime, Blank: true, Unit: "requests/period", Auto: "no limit",
			Doc: "Requests of one address to /internal/publish. The period is s, min or hour.",
			set: into(func(c *Config) *string { return &c.PublishRate }, parseRate)},
	}
}
