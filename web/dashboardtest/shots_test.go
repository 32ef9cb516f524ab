package dashboardtest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"

	"github.com/stretchr/testify/require"
)

const (
	// shotWidth and shotHeight bound a picture in pixels; a longer page is cut.
	shotWidth, shotHeight = 1280, 1400
	// colours is what a palette of 8 bits holds. A page has a dozen, and the
	// shades at the edges of its letters.
	colours = 256
)

// shoot takes the picture of the page for docs/dashboard.
func shoot(p *page, name string, dark bool) {
	p.t.Helper()
	p.Size(shotWidth, 700, dark)
	var height int
	p.Eval(`Math.ceil(document.querySelector("main").getBoundingClientRect().bottom + scrollY)`, &height)
	p.Size(shotWidth, min(max(height, 700), shotHeight), dark)
	p.settled()
	p.Until(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, "the page was not painted")
	full, err := png.Decode(bytes.NewReader(p.Shot()))
	require.NoError(p.t, err)
	var packed bytes.Buffer
	require.NoError(p.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&packed, reduce(full)))
	dir := filepath.Join("..", "..", "docs", "dashboard")
	require.NoError(p.t, os.MkdirAll(dir, 0o755))
	theme := "light"
	if dark {
		theme = "dark"
	}
	require.NoError(p.t, os.WriteFile(filepath.Join(dir, name+"-"+theme+".png"), packed.Bytes(), 0o644))
}

// reduce gives the picture a palette: the most frequent colour of each corner of
// the colour space, so that a small badge keeps its own, then the most frequent
// ones.
func reduce(from image.Image) *image.Paletted {
	bounds := from.Bounds()
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(from.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	all := make([]color.RGBA, 0, len(count))
	for c := range count {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	chosen, corners := map[color.RGBA]bool{}, map[[3]uint8]bool{}
	for _, everyCorner := range []bool{true, false} {
		for _, c := range all {
			corner := [3]uint8{c.R >> 5, c.G >> 5, c.B >> 5}
			if len(palette) == colours || chosen[c] || everyCorner && corners[corner] {
				continue
			}
			chosen[c], corners[corner] = true, true
			palette = append(palette, c)
		}
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range all {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	return out
}
