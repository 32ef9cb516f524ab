package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// searchTable is about the search server. The old stack switched it on unless
// told otherwise and knew a default password; here it is off until a host is
// named, and nobody has a password by default.
func searchTable() []Setting {
	return []Setting{
		{Key: "OPENSEARCH_ENABLED", Group: Search, Auto: "true when OPENSEARCH_HOST is given",
			Doc: "Whether OpenSearch is asked first when people are searched for. Postgres answers without it, and whenever it fails.",
			set: into(func(c *Config) *bool { return &c.OpenSearch }, func(raw string) (bool, error) {
				if raw == "" {
					return false, nil
				}
				return parseBool(raw)
			})},
		{Key: "OPENSEARCH_HOST", Group: Search, Default: "localhost",
			Doc: "Name or address of the OpenSearch server.",
			set: into(func(c *Config) *string { return &c.OpenSearchHost }, parseHostName)},
		{Key: "OPENSEARCH_PORT", Group: Search, Default: "9200",
			Doc: "Its port.",
			set: into(func(c *Config) *int { return &c.OpenSearchPort }, parseInt(1, 65535))},
		{Key: "OPENSEARCH_SCHEME", Group: Search, Default: "http",
			Doc: "http or https.",
			set: into(func(c *Config) *string { return &c.OpenSearchScheme }, func(raw string) (string, error) {
				if s := strings.ToLower(raw); s == "http" || s == "https" {
					return s, nil
				}
				return "", fmt.Errorf("%q is neither http nor https", raw)
			})},
		{Key: "OPENSEARCH_USERNAME", Aliases: []string{"OPENSEARCH_USER"}, Group: Search, Default: "admin",
			Doc: "User there. It counts only with a password.",
			set: into(func(c *Config) *string { return &c.OpenSearchUser }, parseText)},
		{Key: "OPENSEARCH_PASSWORD", Group: Search, Secret: true, Auto: "none: no credentials are sent",
			Doc: "Password there. There is no default one.",
			set: into(func(c *Config) *Secret { return &c.OpenSearchPassword }, parseSecret)},
		{Key: "OPENSEARCH_CA_FILE", Group: Search, Auto: "the certificates that the system trusts",
			Doc: "File of PEM certificates that sign the server's, for https with a private authority.",
			set: into(func(c *Config) *string { return &c.OpenSearchCA }, parseText)},
	}
}

// parseHostName accepts what stands before a port in an address.
func parseHostName(raw string) (string, error) {
	u, err := url.Parse("http://" + raw)
	if strings.Count(raw, ":") > 1 && !strings.HasPrefix(raw, "[") { // an address of IPv6
		u, err = url.Parse("http://[" + raw + "]")
	}
	if err != nil || u.Hostname() == "" || u.Port() != "" || u.Path != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(raw, " /@?#") {
		return "", errors.New("is not a host alone: scheme and port are OPENSEARCH_SCHEME and OPENSEARCH_PORT")
	}
	return u.Hostname(), nil
}

// deriveSearch settles whether OpenSearch is asked.
func (l *loader) deriveSearch() {
	c := l.cfg
	if _, ok := l.given["OPENSEARCH_ENABLED"]; !ok {
		text := "false"
		if _, named := l.given["OPENSEARCH_HOST"]; named {
			text = "true"
		}
		l.choose("OPENSEARCH_ENABLED", text)
	}
	if c.OpenSearch && c.OpenSearchScheme == "http" && !c.OpenSearchPassword.IsZero() && !isLocalHost(c.OpenSearchHost) {
		l.note(slog.LevelWarn, "OPENSEARCH_SCHEME", "the password for OpenSearch and what is searched for go through the network unencrypted: set OPENSEARCH_SCHEME=https")
	}
}
