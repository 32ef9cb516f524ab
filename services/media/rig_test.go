package media_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"log/slog"
	"mime/multipart"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selflink/appliance/auth"
	"selflink/appliance/database/databasetest"
	"selflink/appliance/httpapi"
	"selflink/appliance/httpapi/apitest"
	"selflink/appliance/storage"
	"selflink/appliance/storage/storagetest"
	"selflink/services/media"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// numbers is an authenticator whose tokens are user ids.
type numbers struct{}

func (numbers) Authenticate(_ context.Context, header string) (auth.Principal, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(header, "Bearer "), 10, 64)
	return auth.Principal{UserID: id}, err
}

type counter struct{ n atomic.Int64 }

func (c *counter) Next() int64 { return 382705517622988800 + c.n.Add(1) }

// clock is the time, moved when told to.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

type rig struct {
	*apitest.Client
	db    *databasetest.DB
	store storage.Store
	svc   *media.Service
	clock *clock
}

func newRig(t *testing.T, store storage.Store) *rig {
	t.Helper()
	r := &rig{db: databasetest.New(t), store: store, clock: &clock{}}
	for id := 1; id <= 3; id++ {
		_, err := r.db.Pool.Exec(t.Context(), `INSERT INTO users (id, email, email_fold, handle, password, created_at, updated_at) VALUES ($1::int, 'u'||$1, 'u'||$1, 'u'||$1, 'x', now(), now())`, id)
		require.NoError(t, err)
	}
	var err error
	r.svc, err = media.New(media.Deps{DB: r.db.Pool, IDs: &counter{}, Storage: store, Serve: store.Backend() == storage.BackendLocal, MaxUpload: 4 << 20, Clock: r.clock.Now})
	require.NoError(t, err)
	api, err := httpapi.New(httpapi.Options{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler), Auth: numbers{}})
	require.NoError(t, err)
	r.svc.Register(api)
	r.Client = apitest.Serve(t, api)
	return r
}

// newRigOn makes another service over the same database and storage.
func newRigOn(t *testing.T, r *rig) *media.Service {
	t.Helper()
	s, err := media.New(media.Deps{DB: r.db.Pool, IDs: &counter{}, Storage: r.store, Clock: r.clock.Now})
	require.NoError(t, err)
	return s
}

// both runs a test on either storage.
func both(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Run("local", func(t *testing.T) {
		t.Parallel()
		f(t, newRig(t, storage.NewLocal(t.TempDir()+"/media")))
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		f(t, newRig(t, storagetest.Start(t).Store(t)))
	})
}

// form is a multipart body.
func form(field, name string, content []byte) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("note", "before it")
	part, _ := w.CreateFormFile(field, name)
	_, _ = part.Write(content)
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

func (r *rig) upload(t *testing.T, user int, name string, content []byte) apitest.Response {
	t.Helper()
	body, kind := form("file", name, content)
	return r.As(fmt.Sprint(user)).Do(t, "POST", "/api/v1/media/upload/", body, "Content-Type", kind)
}

func picture(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x * y), 255})
		}
	}
	return img
}

func pngOf(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, picture(w, h)))
	return b.Bytes()
}

func jpegOf(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, img, nil))
	return b.Bytes()
}

// files are the keys in the storage.
func (r *rig) files(t *testing.T) []string {
	t.Helper()
	out := []string{}
	require.NoError(t, storage.Walk(t.Context(), r.store, "", "", func(i storage.Info) error {
		out = append(out, i.Key)
		return nil
	}))
	return out
}

// count is the number of rows of a query.
func (r *rig) count(t *testing.T, sql string) (n int) {
	t.Helper()
	require.NoError(t, r.db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM "+sql).Scan(&n))
	return n
}
