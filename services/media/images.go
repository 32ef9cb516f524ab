package media

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // decoders register themselves
	"image/jpeg"
	_ "image/png" // decoders register themselves
	"io"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // decoders register themselves

	"selflink/appliance/storage"
)

const (
	// maxPixels and maxSide bound an image before any of it is decoded: a file of
	// some hundred bytes can claim to be of any size.
	maxPixels = 50_000_000
	maxSide   = 16_384

	// maxDecoded is the most memory that decoding an image may take; of a bigger
	// one there is no thumbnail. A photo of 24 million pixels takes 36 MB.
	maxDecoded = 100 << 20

	// thumbSide is the longer side of a thumbnail in pixels.
	thumbSide    = 480
	thumbQuality = 80
)

// look opens a stored image, refuses what is none, and makes its thumbnail.
func (s *Service) look(ctx context.Context, f *File, kind Kind) error {
	select {
	case s.decoder <- struct{}{}:
		defer func() { <-s.decoder }()
	case <-ctx.Done():
		return ctx.Err()
	}
	content, _, err := s.Storage.Open(ctx, f.Key, 0, storage.ToEnd)
	if err != nil {
		return fmt.Errorf("look at an upload: %w", err)
	}
	defer content.Close()
	source := &faithful{r: content}
	var header bytes.Buffer // what DecodeConfig reads is decoded again
	buffered := bufio.NewReader(source)
	cfg, format, err := image.DecodeConfig(io.TeeReader(buffered, &header))
	if err != nil {
		return source.or(ErrImage)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxSide || cfg.Height > maxSide || cfg.Width*cfg.Height > maxPixels {
		return ErrPixels
	}
	turn := orientation(header.Bytes())
	width, height := int32(cfg.Width), int32(cfg.Height) //nolint:gosec // bounded above
	if turn > 4 {
		width, height = height, width
	}
	f.Width, f.Height = &width, &height
	if decodedBytes(cfg, format) > maxDecoded {
		return nil
	}
	img, _, err := image.Decode(io.MultiReader(&header, buffered))
	if err != nil {
		return source.or(ErrImage)
	}
	if !kind.Thumb {
		return nil
	}
	return s.thumbnail(ctx, f, img, turn)
}

// faithful remembers a failure of the storage, which says nothing about the
// image.
type faithful struct {
	r   io.Reader
	err error
}

// Read implements [io.Reader].
func (f *faithful) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = fmt.Errorf("look at an upload: %w", err)
	}
	return n, err
}

func (f *faithful) or(err error) error {
	if f.err != nil {
		return f.err
	}
	return err
}

// decodedBytes estimates what decoding takes. JPEGs may be progressive, which
// keeps all coefficients beside the picture.
func decodedBytes(cfg image.Config, format string) int {
	pixel := 4
	switch {
	case format == "jpeg":
		pixel = 8
	case cfg.ColorModel == color.RGBA64Model || cfg.ColorModel == color.NRGBA64Model:
		pixel = 8
	case cfg.ColorModel == color.GrayModel, format == "gif":
		pixel = 1
	}
	return cfg.Width * cfg.Height * pixel
}

// thumbnail stores a small JPEG of an image.
func (s *Service) thumbnail(ctx context.Context, f *File, img image.Image, turn int) error {
	size := img.Bounds().Size()
	w, h := size.X, size.Y
	if longer := max(w, h); longer > thumbSide {
		w, h = max(1, w*thumbSide/longer), max(1, h*thumbSide/longer)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(small, small.Bounds(), image.White, image.Point{}, draw.Src) // under what is transparent
	draw.ApproxBiLinear.Scale(small, small.Bounds(), img, img.Bounds(), draw.Over, nil)
	upright := turned(small, turn)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, upright, &jpeg.Options{Quality: thumbQuality}); err != nil {
		return fmt.Errorf("encode a thumbnail: %w", err)
	}
	key := storage.NewKey(storage.Assets+"/thumbnails", "jpg", s.Clock())
	info, err := s.Storage.Put(ctx, key, &out, storage.PutOptions{Size: int64(out.Len()), Type: "image/jpeg"})
	if err != nil {
		return fmt.Errorf("store a thumbnail: %w", err)
	}
	width, height := int32(upright.Bounds().Dx()), int32(upright.Bounds().Dy()) //nolint:gosec // small
	f.Thumbnail = &File{Key: key, Mime: "image/jpeg", Size: info.Size, SHA256: info.SHA256, Width: &width, Height: &height}
	return nil
}

// turned turns and mirrors an image as its Exif orientation asks for.
func turned(src *image.RGBA, turn int) *image.RGBA {
	if turn < 2 || turn > 8 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if turn > 4 {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			var to image.Point
			switch turn {
			case 2:
				to = image.Pt(w-1-x, y)
			case 3:
				to = image.Pt(w-1-x, h-1-y)
			case 4:
				to = image.Pt(x, h-1-y)
			case 5:
				to = image.Pt(y, x)
			case 6:
				to = image.Pt(h-1-y, x)
			case 7:
				to = image.Pt(h-1-y, w-1-x)
			case 8:
				to = image.Pt(y, w-1-x)
			}
			out.SetRGBA(to.X, to.Y, src.RGBAAt(x, y))
		}
	}
	return out
}
