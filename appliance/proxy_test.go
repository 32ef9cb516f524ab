package appliance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"selflink/appliance"
	"selflink/appliance/certificate/certificatetest"
	"selflink/appliance/config"
	"selflink/appliance/llm/llmtest"
	"selflink/appliance/telemetry"
)

// proxyWait bounds every wait of these tests.
const proxyWait = 90 * time.Second

// TestBehindProxies runs the samples of packaging/proxy in front of a whole
// appliance, each where its program is installed.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	type proxy struct{ name, program, path string }
	var found []proxy
	for _, p := range []proxy{{name: "nginx", program: "/usr/sbin/nginx"}, {name: "caddy", program: "caddy"}} {
		path, err := exec.LookPath(p.program)
		if err != nil {
			t.Logf("%s is not installed here, so its sample is not tried", p.name)
			continue
		}
		p.path = path
		found = append(found, p)
	}
	if len(found) == 0 {
		t.Skip("neither nginx nor Caddy is installed here: packaging/proxy is not tried (apt-get install nginx-light caddy)")
	}
	r := newProxyRig(t)
	for _, p := range found {
		t.Run(p.name, func(t *testing.T) {
			site := r.sample(t, p.name, p.path)
			r.address(t, site)
			r.tokens(t, site)
			r.socket(t, site)
			r.largeBodies(t, site)
		})
	}
}

// proxyRig is an appliance that trusts the proxy at 127.0.0.1.
type proxyRig struct {
	authority *certificatetest.Authority
	cert, key string
	addr      string
	model     *llmtest.Server
	log       *lines
	client    *http.Client
	token     string
}

func newProxyRig(t *testing.T) *proxyRig {
	t.Helper()
	r := &proxyRig{authority: certificatetest.New(t), model: llmtest.New(t), log: &lines{}}
	dir, err := os.MkdirTemp("", "selflink-proxy-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755)) // Postgres runs as a user of its own
	r.cert, r.key = r.authority.Files(t, dir, 7)
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"SELFLINK_DATA_DIR=" + filepath.Join(dir, "data"), "SELFLINK_LISTEN=127.0.0.1:0", "SELFLINK_ENV_FILE=", "PATH=" + os.Getenv("PATH"),
		"TRUSTED_PROXIES=127.0.0.1", "ALLOWED_HOSTS=localhost",
		"MENTOR_LLM_PROVIDER=ollama", "OLLAMA_HOST=" + r.model.URL,
	}})
	require.NoError(t, err)
	tail := telemetry.NewTail(0)
	log, err := telemetry.NewLogger(telemetry.Options{Out: r.log, Tail: tail})
	require.NoError(t, err)
	a, err := appliance.New(cfg, log, tail, appliance.Build{Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), proxyWait)
		defer cancel()
		require.NoError(t, a.Stop(ctx))
	})
	require.NoError(t, a.Start(t.Context()))
	r.addr = a.Addrs()[0]
	// A client that is neither this machine's usual address nor the proxy's.
	transport := &http.Transport{
		TLSClientConfig: r.authority.Client(),
		DialContext:     (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext,
	}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: proxyWait}
	return r
}

// sample starts a proxy with its sample and returns its address. Only names,
// addresses and paths are changed in it.
func (r *proxyRig) sample(t *testing.T, name, program string) (site string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "selflink-"+name+"-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := free(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	site = "https://localhost:" + port
	change := func(file string, pairs ...string) string {
		text, err := os.ReadFile(filepath.Join("..", "packaging", "proxy", file))
		require.NoError(t, err)
		for i := 0; i < len(pairs); i += 2 {
			require.Contains(t, string(text), pairs[i], "the test and the sample have drifted apart")
		}
		return strings.NewReplacer(pairs...).Replace(string(text))
	}
	path := filepath.Join(dir, "conf")
	var cmd *exec.Cmd
	switch name {
	case "nginx":
		text := change("nginx.conf",
			"listen 443 ssl", "listen "+address+" ssl", "listen 80;", "listen "+free(t)+";",
			"server_name api.example.com", "server_name localhost", "server 127.0.0.1:8000", "server "+r.addr,
			"/etc/letsencrypt/live/api.example.com/fullchain.pem", r.cert, "/etc/letsencrypt/live/api.example.com/privkey.pem", r.key)
		var temporary strings.Builder
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temporary.WriteString(kind + "_temp_path " + filepath.Join(dir, kind) + ";\n")
		}
		user := ""
		if os.Geteuid() == 0 {
			user = "user root;\n"
		}
		require.NoError(t, os.WriteFile(path, []byte(user+"daemon off;\nmaster_process on;\nworker_processes 1;\npid "+filepath.Join(dir, "pid")+
			";\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+temporary.String()+text+"}\n"), 0o600))
		out, err := exec.Command(program, "-t", "-c", path).CombinedOutput()
		require.NoError(t, err, string(out))
		cmd = exec.Command(program, "-c", path)
	default:
		text := change("Caddyfile",
			"{$SELFLINK_SITE:api.example.com} {", site+" {\n\ttls "+r.cert+" "+r.key, "{$SELFLINK_UPSTREAM:127.0.0.1:8000}", r.addr)
		require.NoError(t, os.WriteFile(path, []byte("{\n\tadmin off\n\tauto_https disable_redirects\n}\n"+text), 0o600))
		cmd = exec.Command(program, "run", "--adapter", "caddyfile", "--config", path)
	}
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	said := &lines{}
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, strings.Join(said.about(""), "\n"))
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, proxyWait, 10*time.Millisecond, "%s does not listen", name)
	return site
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

func (r *proxyRig) request(t *testing.T, method, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// address sees that the client's own address counts, not the proxy's, and not
// the one that the client claims.
func (r *proxyRig) address(t *testing.T, site string) {
	id := "whence-" + strings.TrimPrefix(site, "https://localhost:")
	res := r.request(t, http.MethodGet, site+"/api/v1/users/me/", "", "X-Forwarded-For", "203.0.113.9", "X-Request-ID", id)
	require.Contains(t, []int{http.StatusOK, http.StatusUnauthorized}, res.StatusCode)
	var line string
	require.Eventually(t, func() bool {
		for _, l := range r.log.about(id) {
			if strings.Contains(l, "client_ip") {
				line = l
			}
		}
		return line != ""
	}, proxyWait, 10*time.Millisecond)
	require.Contains(t, line, `"client_ip":"127.0.0.2"`)
	if r.token == "" {
		res := r.request(t, http.MethodPost, site+"/api/v1/auth/register/", `{"email":"ann@example.com","password":"correct-horse","name":"Ann"}`)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, res.StatusCode, string(text))
		var answer struct{ Token string }
		require.NoError(t, json.Unmarshal(text, &answer))
		r.token = answer.Token
	}
}

// tokens sees that each piece of an answer arrives while the model still holds
// the next one back.
func (r *proxyRig) tokens(t *testing.T, site string) {
	gate := make(chan struct{})
	r.model.Then(llmtest.Script{Pieces: []string{"One ", "two ", "three."}, Gate: gate})
	opened := make(chan *http.Response, 1)
	go func() { // ends with the answer's head; each proxy has its own question
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site+"/api/v1/mentor/stream/?message=hi+"+site[len("https://localhost:"):], nil)
		if err != nil {
			opened <- nil
			return
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := r.client.Do(req)
		if err != nil {
			t.Errorf("ask the mentor: %v", err)
		}
		opened <- res
	}()
	send := func() {
		select {
		case gate <- struct{}{}:
		case <-time.After(proxyWait):
			require.Fail(t, "the model is not asked")
		}
	}
	send()
	res := <-opened
	require.NotNil(t, res)
	require.Equal(t, http.StatusOK, res.StatusCode)
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	for i, piece := range []string{"One ", "two ", "three."} {
		for {
			line, err := events.ReadString('\n')
			require.NoError(t, err)
			if strings.Contains(line, piece) {
				break
			}
		}
		if i < 2 {
			send() // only now may the model say the next one
		}
	}
	close(gate)
	_, err := io.Copy(io.Discard, events)
	require.NoError(t, err)
}

// socket sees that a WebSocket opens and carries frames both ways.
func (r *proxyRig) socket(t *testing.T, site string) {
	ctx, cancel := context.WithTimeout(t.Context(), proxyWait)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "wss"+strings.TrimPrefix(site, "https")+"/ws", &websocket.DialOptions{
		HTTPClient: r.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + r.token}},
	})
	require.NoError(t, err)
	defer conn.CloseNow() //nolint:errcheck // the test is over
	require.Equal(t, "connected", told(t, conn)["message"])
	require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`)))
	require.Equal(t, "ignored", told(t, conn)["message"], "it has been heard and answered")
}

// largeBodies sees that uploads pass, and that a body is judged by the
// appliance, in its own words.
func (r *proxyRig) largeBodies(t *testing.T, site string) {
	const edge = "edge"
	text := "--" + edge + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n" +
		strings.Repeat("x", 3<<20) + "\r\n--" + edge + "--\r\n"
	res := r.request(t, http.MethodPost, site+"/api/v1/media/upload/", text, "Content-Type", "multipart/form-data; boundary="+edge)
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, res.StatusCode, string(answer))
	require.Contains(t, string(answer), "file", "it is no picture, which the appliance says and not the proxy")
}
