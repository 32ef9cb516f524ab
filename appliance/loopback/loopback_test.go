package loopback_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selflink/appliance/loopback"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	address := loopback.Address(t)
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	raw, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	require.NoError(t, err)
	least, err := strconv.Atoi(strings.Fields(string(raw))[0])
	require.NoError(t, err)
	require.Less(t, number, least, "the kernel gives it to nobody")
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err, "it is free")
	require.NoError(t, listener.Close())
}
