package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

// bareCommand is the word that makes this program the plain gateway.
const bareCommand = "realtime-bare"

// runBare serves the least gateway that the load client understands: no
// accounts, no log, no queues. An event is written to one socket after the
// other, one call each, before its publisher is answered. It prints its address
// and ends with its standard input.
func runBare() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n\r\n")
		_, _ = buffer.Write(serverFrame([]byte(`{"type":"ack","message":"connected"}`)))
		mu.Lock() // whoever has the acknowledgement gets the next event
		defer mu.Unlock()
		if err := buffer.Flush(); err != nil {
			_ = conn.Close()
			return
		}
		conns = append(conns, conn)
	})
	mux.HandleFunc("POST /internal/publish", func(w http.ResponseWriter, r *http.Request) {
		var event struct{ Payload json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		frame := serverFrame(event.Payload)
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_, _ = conn.Write(frame) // who is gone is not looked for
		}
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	})
	fmt.Println(listener.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = listener.Close()
	}()
	_ = http.Serve(listener, mux)
	return nil
}

// serverFrame is a text frame of up to 64 KiB as servers send it.
func serverFrame(payload []byte) []byte {
	b := []byte{0x80 | opText}
	if len(payload) < 126 {
		b = append(b, byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(payload)))
	}
	return append(b, payload...)
}
