package http2_test

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frame encodes a frame of the peer.
func (p *player) frame(verb string, args []string) []byte {
	var b bytes.Buffer
	f := xhttp2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	flag := func(name string) bool {
		for i, a := range args {
			if a == name {
				args = append(args[:i:i], args[i+1:]...)
				return true
			}
		}
		return false
	}
	value := func(name string) int {
		for i, a := range args {
			if v, ok := strings.CutPrefix(a, name+"="); ok {
				args = append(args[:i:i], args[i+1:]...)
				return p.number(v)
			}
		}
		return -1
	}
	id := func() uint32 {
		n := p.number(args[0])
		args = args[1:]
		return uint32(n)
	}
	switch verb {
	case "preface":
		return []byte(http2.Preface)
	case "raw":
		raw, err := hex.DecodeString(strings.Join(args, ""))
		if err != nil {
			p.Fatal(err)
		}
		return raw
	case "settings":
		if flag("ack") {
			_ = f.WriteSettingsAck()
			break
		}
		var settings []xhttp2.Setting
		for _, a := range args {
			name, v, _ := strings.Cut(a, "=")
			settings = append(settings, xhttp2.Setting{ID: xhttp2.SettingID(p.number(name)), Val: uint32(p.number(v))})
		}
		_ = f.WriteSettings(settings...)
	case "headers", "continuation":
		return p.headers(verb, id(), flag("end"), flag("more"), value("pad"), value("depends"), args)
	case "data":
		stream, end, pad := id(), flag("end"), value("pad")
		payload := make([]byte, id())
		if pad >= 0 {
			_ = f.WriteDataPadded(stream, end, payload, make([]byte, pad))
		} else {
			_ = f.WriteData(stream, end, payload)
		}
	case "rst":
		_ = f.WriteRSTStream(id(), xhttp2.ErrCode(id()))
	case "ping":
		_ = f.WritePing(flag("ack"), [8]byte{7: byte(id())})
	case "goaway":
		_ = f.WriteGoAway(id(), xhttp2.ErrCode(id()), nil)
	case "window":
		_ = f.WriteWindowUpdate(id(), id())
	case "priority":
		_ = f.WritePriority(id(), xhttp2.PriorityParam{StreamDep: id()})
	default:
		p.Fatalf("command %q", verb)
	}
	return b.Bytes()
}

// headers encodes a field block, or with "continuation" goes on with one. Words
// are fields; "~" in a value is a space, "!" before one makes it sensitive.
func (p *player) headers(verb string, id uint32, end, more bool, pad, depends int, args []string) []byte {
	p.block.Reset()
	for _, a := range args {
		switch a {
		case "get":
			p.fields(":method=GET", ":scheme=http", ":path=/", ":authority=a.test")
		case "post":
			p.fields(":method=POST", ":scheme=http", ":path=/", ":authority=a.test")
		default:
			p.fields(a)
		}
	}
	var b bytes.Buffer
	f := xhttp2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	if verb == "continuation" {
		_ = f.WriteContinuation(id, !more, p.block.Bytes())
		return b.Bytes()
	}
	param := xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndStream: end, EndHeaders: !more, PadLength: uint8(max(pad, 0))}
	if depends >= 0 {
		param.Priority = xhttp2.PriorityParam{StreamDep: uint32(depends), Weight: 3}
	}
	_ = f.WriteHeaders(param)
	return b.Bytes()
}

func (p *player) fields(words ...string) {
	for _, w := range words {
		sensitive := strings.HasPrefix(w, "!")
		w = strings.TrimPrefix(w, "!")
		at := strings.IndexByte(w[1:], '=') + 1
		name, value := w[:at], w[at+1:]
		if unquoted, err := strconv.Unquote(`"` + value + `"`); err == nil {
			value = unquoted
		}
		if size, ok := strings.CutPrefix(value, "size:"); ok {
			value = strings.Repeat("x", p.number(size))
		}
		_ = p.encoder.WriteField(hpack.HeaderField{Name: strings.ReplaceAll(name, "~", " "), Value: strings.ReplaceAll(value, "~", " "), Sensitive: sensitive})
	}
}
