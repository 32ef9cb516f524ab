// Package realtimetest holds the test of the realtime client in a browser:
// Chromium runs what "npm run build" compiled, against the built appliance,
// over connections that the test cuts. It has no code of its own.
//
// It is a package beside the client, and not a test of package web, because it
// runs the command: web itself is a leaf that imports nothing.
package realtimetest
