//go:build crash

package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
)

const (
	uploaders = 8
	// uploadPeople share the uploads, of which one may make 60 a minute.
	uploadPeople = 24
	// uploadsBetween is how many uploads are answered before the next kill.
	uploadsBetween = 6
)

// place is where files are kept, as the test sees it.
type place struct {
	name  string
	env   []string
	store func(t *testing.T, s *server) storage.Store
	// files is the directory with all of it, whose times can be changed, under
	// it the files by their keys, and what is unfinished by a pattern.
	files      func(s *server) string
	unfinished string
	direct     bool // clients may put files there themselves
	kills      int
	big, most  int // bytes of big files
}

// TestUploads sends files without pause, of all sizes and by every way, and
// kills the process before, while and after they are written. At the end every
// row has its file and every file its row, but for those that the sweep takes,
// and every upload that was answered can be read.
func TestUploads(t *testing.T) {
	require.NotEmpty(t, *bin, "-bin is needed: run make crash")
	t.Run("local", func(t *testing.T) {
		testUploads(t, place{
			name:  "the local directory",
			store: func(_ *testing.T, s *server) storage.Store { return storage.NewLocal(filepath.Join(s.data, "media")) },
			files: func(s *server) string { return filepath.Join(s.data, "media") }, unfinished: ".incoming/*",
			kills: *kills, big: 1 << 20, most: 6 << 20,
		})
	})
	t.Run("s3", func(t *testing.T) {
		bucket := storagetest.Start(t)
		if bucket.Dir == "" {
			t.Skip("the times of the files on a given server cannot be changed")
		}
		o := bucket.Options(bucket.Bucket(t))
		testUploads(t, place{
			name: bucket.Name,
			env: []string{"STORAGE_BACKEND=s3", "S3_ENDPOINT=" + o.Endpoint, "S3_ACCESS_KEY_ID=" + o.AccessKey,
				"S3_SECRET_ACCESS_KEY=" + o.SecretKey, "S3_BUCKET=" + o.Bucket},
			store: func(t *testing.T, _ *server) storage.Store {
				store, err := storage.NewS3(o)
				require.NoError(t, err)
				return store
			},
			files: func(*server) string { return filepath.Join(bucket.Dir, o.Bucket) }, unfinished: ".sgwtmp/multipart/*/*",
			// Those of more than 8 MiB go in parts.
			direct: true, kills: (*kills + 1) / 2, big: 9 << 20, most: 12 << 20,
		})
	})
}

func testUploads(t *testing.T, at place) {
	n := at.kills
	t.Logf("seed %d, %d kills, files in %s (repeat with: make crash SEED=%d KILLS=%d)", *seed, n, at.name, *seed, *kills)
	random := rand.New(rand.NewPCG(*seed, 4))
	s := newServer(t, *bin, append(at.env, "THROTTLE_IP_RATE=0", "THROTTLE_USER_RATE=0", "THROTTLE_ANON_RATE=0", "JWT_ACCESS_MINUTES=120")...)
	t.Logf("first start: ready in %s", s.start().Round(time.Millisecond))
	client := &api{base: "http://" + s.addr, http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: uploaders}}}
	book := &shelf{at: at, client: client}
	for i := range uploadPeople {
		book.people = append(book.people, openAccount(t, client, fmt.Sprintf("sender%d@example.com", i)))
	}
	load := newGroup()
	t.Cleanup(load.stop)
	for i := range uploaders {
		u := &uploader{shelf: book, random: rand.New(rand.NewPCG(*seed, uint64(100+i))), number: i}
		load.goLoop(func(ctx context.Context) { u.step(ctx, t) })
	}

	moments := []string{"at any moment", "while a file is written", "before a file has its row"}
	for i := range n {
		want := book.count() + uploadsBetween
		await(t, "uploads are answered", patience, func() bool { return book.count() >= want })
		moment := moments[i%len(moments)]
		switch i % len(moments) {
		case 0:
			<-time.After(time.Duration(random.IntN(300)) * time.Millisecond)
		case 1:
			await(t, "a file is being written", patience, func() bool { return len(glob(t, at.files(s), at.unfinished)) > 0 })
		case 2:
			seen := len(glob(t, at.files(s), "assets/2*/*/*.png"))
			await(t, "a file has come", patience, func() bool { return len(glob(t, at.files(s), "assets/2*/*/*.png")) > seen })
		}
		var took time.Duration
		victim := "process"
		if i%4 == 3 {
			victim = "postgres"
			s.killChild(victim)
			took = s.awaitReady(victim)
		} else {
			s.kill()
			took = s.start()
		}
		t.Logf("kill %2d/%d: %-8s %-26s ready again in %s", i+1, n, victim, moment, took.Round(time.Millisecond))
	}
	load.stop()

	t.Logf("answered: %d uploads, %d avatars, %d deletions; interrupted: %d; refused with 5xx: %d; throttled: %d",
		book.answered, book.avatars, book.deleted, book.interrupted, book.refused, book.throttled)
	require.Positive(t, book.answered)
	require.Positive(t, book.interrupted, "no kill met an upload")
	requireFiles(t, s, book, random)
	client.http.CloseIdleConnections()
	t.Logf("orderly stop in %s", s.terminate().Round(time.Millisecond))
}

func glob(t *testing.T, dir, pattern string) []string {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	return found
}

// shelf is what the clients were promised.
type shelf struct {
	at     place
	client *api
	people []account

	mu          sync.Mutex
	kept        []kept // and not deleted
	answered    int
	avatars     int // answered
	deleted     int
	interrupted int // sent, and without an answer
	refused     int // with 5xx
	throttled   int
}

// kept is a file of which the server said that it is there.
type kept struct {
	id    json.Number
	key   string
	sum   string // of what was sent
	token string
}

func (b *shelf) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered
}

// uploader sends one file after the other.
type uploader struct {
	*shelf
	random *rand.Rand
	number int
	serial int
}

func (u *uploader) step(ctx context.Context, t *testing.T) {
	who := u.people[u.random.IntN(len(u.people))]
	switch way := u.random.IntN(10); {
	case way == 0:
		u.deleteOne(ctx, t)
	case way == 1:
		u.avatar(ctx, t, who)
	case way < 5 && u.at.direct:
		u.put(ctx, t, who)
	default:
		content, name := u.content()
		body, kind := form("file", name, content)
		u.took(ctx, t, who, content, func(answer any) (int, error) {
			return u.send(ctx, "POST", "/api/v1/media/upload/", who.token, kind, u.slowly(ctx, body), len(body), answer)
		})
	}
	pause(ctx)
}

// took remembers an upload that was answered, and counts one that was not.
func (u *uploader) took(ctx context.Context, t *testing.T, who account, content []byte, send func(answer any) (int, error)) {
	var a struct {
		ID  json.Number
		Key string `json:"s3_key"`
	}
	status, err := send(&a)
	if u.missed(ctx, t, status, err, http.StatusCreated) {
		return
	}
	sum := sha256.Sum256(content)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered++
	u.kept = append(u.kept, kept{id: a.ID, key: a.Key, sum: hex.EncodeToString(sum[:]), token: who.token})
}

// missed counts what did not end as it should.
func (u *uploader) missed(ctx context.Context, t *testing.T, status int, err error, want int) bool {
	if err == nil && status == want {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	unsent := new(net.OpError)
	switch {
	case ctx.Err() != nil: // the test ends
	case errors.As(err, &unsent) && unsent.Op == "dial": // nobody is there
	case err != nil:
		u.interrupted++
	case status == http.StatusTooManyRequests:
		u.throttled++
	case status >= 500:
		u.refused++
	default:
		t.Errorf("an upload was answered %d", status)
	}
	return true
}

// avatar changes somebody's picture; the one before is not needed any more.
func (u *uploader) avatar(ctx context.Context, t *testing.T, who account) {
	body, kind := form("avatar_image", "me.png", u.picture())
	status, err := u.send(ctx, "PATCH", "/api/v1/me/profile/", who.token, kind, bytes.NewReader(body), len(body), &struct{}{})
	if !u.missed(ctx, t, status, err, http.StatusOK) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.avatars++
	}
}

// put sends a file past the server, and sometimes never tells.
func (u *uploader) put(ctx context.Context, t *testing.T, who account) {
	content, name := u.content()
	mime := map[string]string{".png": "image/png", ".mp4": "video/mp4"}[filepath.Ext(name)]
	var grant struct {
		Key, URL, Method string
		Headers          map[string]string
	}
	status, err := u.client.call(ctx, "POST", "/api/v1/media/presign/", who.token, map[string]string{"mime": mime}, &grant)
	if u.missed(ctx, t, status, err, http.StatusOK) {
		return
	}
	request, err := http.NewRequestWithContext(ctx, grant.Method, grant.URL, bytes.NewReader(content))
	if err != nil {
		t.Error(err)
		return
	}
	for name, value := range grant.Headers {
		request.Header.Set(name, value)
	}
	response, err := u.client.http.Do(request)
	if err != nil {
		return
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the bucket answered %d", response.StatusCode)
		return
	}
	if u.random.IntN(8) == 0 {
		return
	}
	u.took(ctx, t, who, content, func(answer any) (status int, err error) {
		// What got no answer is told again, until the server knows no such file:
		// then it was made before, or, once more, the answer was lost.
		for range 200 {
			status, err = u.client.call(ctx, "POST", "/api/v1/media/presign/complete/", who.token, map[string]string{"key": grant.Key}, answer)
			if err == nil && status < 500 || ctx.Err() != nil {
				break
			}
			u.missed(ctx, t, status, err, 0)
			pause(ctx)
		}
		if err == nil && status == http.StatusNotFound {
			return u.find(ctx, who, grant.Key, answer)
		}
		return status, err
	})
}

// find looks for the asset of a file that was reported without an answer.
func (u *uploader) find(ctx context.Context, who account, key string, answer any) (int, error) {
	var page struct{ Results []json.RawMessage }
	status, err := u.client.call(ctx, "GET", "/api/v1/media/?page_size=100", who.token, nil, &page)
	if err != nil || status != http.StatusOK {
		return status, err
	}
	for _, raw := range page.Results {
		if strings.Contains(string(raw), `"`+key+`"`) {
			return http.StatusCreated, json.Unmarshal(raw, answer)
		}
	}
	return http.StatusNotFound, nil // a promise that was broken: an error of the test
}

// deleteOne deletes an asset of this uploader's time.
func (u *uploader) deleteOne(ctx context.Context, t *testing.T) {
	u.mu.Lock()
	if len(u.kept) < 2*uploaders {
		u.mu.Unlock()
		return
	}
	at := u.random.IntN(len(u.kept))
	gone := u.kept[at]
	u.kept = append(u.kept[:at], u.kept[at+1:]...) // whatever the answer, nothing is promised of it
	u.mu.Unlock()
	status, err := u.client.call(ctx, "DELETE", "/api/v1/media/"+gone.id.String()+"/", gone.token, nil, &struct{}{})
	if status == http.StatusNoContent {
		err = nil // it has no body
	}
	unsent := new(net.OpError)
	missed := u.missed(ctx, t, status, err, http.StatusNoContent)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !missed {
		u.deleted++
	} else if errors.As(err, &unsent) && unsent.Op == "dial" {
		u.kept = append(u.kept, gone)
	}
}

// content is a file like no other.
func (u *uploader) content() (content []byte, name string) {
	switch kind := u.random.IntN(20); {
	case kind < 8:
		return u.picture(), "a.png"
	case kind == 8:
		return u.movie(u.at.big + u.random.IntN(u.at.most-u.at.big)), "b.mp4"
	default:
		return u.movie(1<<10 + u.random.IntN(100<<10)), "c.mp4"
	}
}

func (u *uploader) movie(size int) []byte {
	u.serial++
	content := make([]byte, size)
	copy(content, "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")
	seed := [32]byte{byte(u.number), byte(u.serial), byte(u.serial >> 8)}
	_, _ = rand.NewChaCha8(seed).Read(content[24:])
	return content
}

// basePicture is big enough to get a thumbnail.
var basePicture = sync.OnceValue(func() []byte {
	img := image.NewNRGBA(image.Rect(0, 0, 700, 500))
	for i := range img.Pix {
		img.Pix[i] = byte(i * i >> 8)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
})

func (u *uploader) picture() []byte {
	u.serial++
	return fmt.Appendf(bytes.Clone(basePicture()), "picture %d of %d", u.serial, u.number)
}

// slowly lets some bodies come in pieces, so that kills fall between them.
func (u *uploader) slowly(ctx context.Context, body []byte) io.Reader {
	if u.random.IntN(3) > 0 {
		return bytes.NewReader(body)
	}
	return &trickle{ctx: ctx, rest: body, piece: len(body)/8 + 1}
}

// trickle gives a body piece by piece.
type trickle struct {
	ctx   context.Context
	rest  []byte
	piece int
}

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	pause(r.ctx)
	n := copy(p, r.rest[:min(r.piece, len(r.rest))])
	r.rest = r.rest[n:]
	return n, nil
}

// send sends a body that is not JSON.
func (u *uploader) send(ctx context.Context, method, path, token, kind string, body io.Reader, size int, answer any) (int, error) {
	request, err := http.NewRequestWithContext(ctx, method, u.client.base+path, body)
	if err != nil {
		return 0, err
	}
	request.ContentLength = int64(size)
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := u.client.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode >= 300 {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.Unmarshal(raw, answer)
}

// form is a multipart body with one file.
func form(field, name string, content []byte) (body []byte, kind string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, _ := w.CreateFormFile(field, name)
	_, _ = part.Write(content)
	_ = w.Close()
	return b.Bytes(), w.FormDataContentType()
}
