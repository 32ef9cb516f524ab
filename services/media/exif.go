package media

import (
	"bytes"
	"encoding/binary"
)

const (
	markerAPP1 = 0xe1
	markerSOS  = 0xda

	tagOrientation = 0x0112
	typeShort      = 3
	entryBytes     = 12
)

// orientation reads how a JPEG is to be turned, 1 to 8, from its beginning. 0
// means that it does not say, or that this is no JPEG.
func orientation(head []byte) int {
	if len(head) < 4 || head[0] != 0xff || head[1] != 0xd8 {
		return 0
	}
	for rest := head[2:]; len(rest) >= 4 && rest[0] == 0xff; {
		marker, size := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if marker == markerSOS || size < 2 || len(rest) < 2+size {
			return 0
		}
		if marker == markerAPP1 {
			if body, ok := bytes.CutPrefix(rest[4:2+size], []byte("Exif\x00\x00")); ok {
				return tiffOrientation(body)
			}
		}
		rest = rest[2+size:]
	}
	return 0
}

// tiffOrientation looks for the tag in the first directory.
func tiffOrientation(b []byte) int {
	if len(b) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'M' {
		order = binary.BigEndian
	}
	at := int(order.Uint32(b[4:]))
	if at < 8 || at+2 > len(b) {
		return 0
	}
	entries := int(order.Uint16(b[at:]))
	for e := b[at+2:]; entries > 0 && len(e) >= entryBytes; e, entries = e[entryBytes:], entries-1 {
		if order.Uint16(e) == tagOrientation && order.Uint16(e[2:]) == typeShort {
			if v := int(order.Uint16(e[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 0
		}
	}
	return 0
}
