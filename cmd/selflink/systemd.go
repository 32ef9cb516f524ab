package main

import (
	"fmt"
	"net"
	"strings"
)

// notifySystemd sends a state, lines of NAME=value, to the service manager
// that started this process. Without one it does nothing.
func notifySystemd(environ []string, state string) error {
	path := lookup(environ, "NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // the abstract name space
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("write to the service manager: %w", err)
	}
	return nil
}

// lookup finds a variable; the last one wins, as in a shell.
func lookup(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
