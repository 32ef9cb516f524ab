package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
)

// minClusterToken is the shortest CLUSTER_TOKEN in characters. It is longer
// than other secrets and holds in development too: whoever reaches the port
// can try tokens at home, see the package broker.
const minClusterToken = 32

// clusterTable joins several processes on one database.
func clusterTable() []Setting {
	return []Setting{
		{Key: "CLUSTER_LISTEN", Group: Clustering, Auto: "clustering is off",
			Doc: "Address for the other nodes, as host:port (6222 is usual); all interfaces: 0.0.0.0:6222. Needs CLUSTER_TOKEN and an external DATABASE_URL.",
			set: into(func(c *Config) *string { return &c.ClusterListen }, parseNode)},
		{Key: "CLUSTER_PEERS", Group: Clustering, Auto: "none: others name this one",
			Doc: "Addresses of other nodes, as a comma list of host:port. It may be the same list on every node: one that finds itself in it leaves itself out. Nodes tell each other of those that are not listed.",
			set: into(func(c *Config) *[]string { return &c.ClusterPeers }, parsePeers)},
		{Key: "CLUSTER_TOKEN", Group: Clustering, Secret: true, Auto: "none",
			Doc: "What the nodes know each other by, the same on all of them. Make one with: selflink cluster token.",
			set: into(func(c *Config) *Secret { return &c.ClusterToken }, parseSecret)},
	}
}

// parseNode accepts host:port with a port that others can name.
func parseNode(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(raw)
	if err != nil || strings.ContainsAny(host, " /@,") {
		return "", fmt.Errorf("%q is not host:port, such as 10.0.0.1:6222", raw)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: the port is not a number from 1 to 65535", raw)
	}
	return raw, nil
}

// parsePeers accepts a comma list of host:port.
func parsePeers(raw string) ([]string, error) {
	var out []string
	for _, address := range splitList(raw) {
		if _, err := parseNode(address); err != nil {
			return nil, err
		}
		if strings.HasPrefix(address, ":") {
			return nil, fmt.Errorf("%q names no host", address)
		}
		if slices.Contains(out, address) {
			return nil, fmt.Errorf("%q is listed twice", address)
		}
		out = append(out, address)
	}
	if raw != "" && len(out) == 0 {
		return nil, errors.New("lists no address, such as 10.0.0.1:6222")
	}
	return out, nil
}

// guardCluster refuses half of a cluster.
func (l *loader) guardCluster() {
	c := l.cfg
	given := func(key string) bool { return l.given[key].text != "" }
	// The texts as given: what is wrong with a value itself is told already.
	if !given("CLUSTER_LISTEN") {
		if given("CLUSTER_PEERS") {
			l.problem("CLUSTER_PEERS", "is given without CLUSTER_LISTEN, so the peers could not reach this node",
				"Set CLUSTER_LISTEN, as in CLUSTER_LISTEN=0.0.0.0:6222, or leave both out.")
		} else if given("CLUSTER_TOKEN") {
			l.note(slog.LevelWarn, "CLUSTER_TOKEN", "CLUSTER_TOKEN is given without CLUSTER_LISTEN: this process joins no others")
		}
	} else {
		if !given("CLUSTER_TOKEN") {
			l.problem("CLUSTER_TOKEN", "is missing: CLUSTER_LISTEN would let anybody in",
				"Make one with:  selflink cluster token   and give the same one to every node.")
		}
		if !given("DATABASE_URL") {
			l.problem("CLUSTER_LISTEN", "is given without DATABASE_URL: the private database belongs to one process, the nodes of a cluster share one",
				"Set DATABASE_URL to the same external Postgres on every node, or leave CLUSTER_LISTEN out.")
		}
		if !given("SECRET_KEY") && !given("JWT_SIGNING_KEY") {
			l.problem("SECRET_KEY", "is generated on each node by itself, so one node would refuse who signed in at another",
				"Give the same SECRET_KEY to every node. The one of an existing node is in <data>/"+secretsDirName+"/"+secretKeyFile+" there; a new one:  openssl rand -base64 33")
		}
		if slices.Contains(c.Listen, c.ClusterListen) {
			l.problem("CLUSTER_LISTEN", "is an address of SELFLINK_LISTEN too", "Choose another port, 6222 is usual.")
		}
	}
	if token := l.given["CLUSTER_TOKEN"].text; token != "" {
		const fix = "Make one with:  selflink cluster token"
		switch {
		case isSample(token):
			l.problem("CLUSTER_TOKEN", "is a published example, which everybody knows", fix)
		case len(token) < minClusterToken:
			l.problem("CLUSTER_TOKEN", fmt.Sprintf("is shorter than %d characters", minClusterToken), fix)
		case poor(token):
			l.problem("CLUSTER_TOKEN", "repeats a few characters and can be guessed", fix)
		}
	}
}
