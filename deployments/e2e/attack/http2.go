package attack

import (
	"bytes"
	"math"
	"strings"
	"time"
)

// The paths of requests, which the target must have routes for.
const (
	Local = "/local" // answered by the target itself
	Slow  = "/slow"  // an endpoint takes requests and answers none
	Big   = "/big"   // an endpoint answers with much
	Held  = "/held"  // answered by the target itself, with some 1,000 bytes
)

// refusal is the series that counts what the codec of HTTP/2 refused.
func refusal(reason string) string { return `proxyfleet_http2_refusals_total{reason="` + reason + `"}` }

// answered is the series that counts what the target answered by itself.
func answered(reason string) string {
	return `proxyfleet_answers_by_reason_total{reason="` + reason + `"}`
}

// calm is how a flood has to end.
func calm(reason string) Want {
	return Want{Ends: true, Code: EnhanceYourCalm, Counter: refusal(reason)}
}

// refused is how a flood has to end of requests that are refused one by one, for one reason, and
// by another at last.
func refused(reason, last string) Want {
	return Want{Ends: true, Code: EnhanceYourCalm, Counter: refusal(reason), Ending: refusal(last)}
}

// work is how a flood has to end before which work was done that somebody may want.
func work(w Want) Want {
	w.Work = true
	return w
}

// every is a Piece that sends the same frames each time.
func every(frames int, piece []byte) func([]byte, int) ([]byte, int) {
	return func(dst []byte, _ int) ([]byte, int) { return append(dst, piece...), frames }
}

// begun is a Piece that begins a request and then does something to its stream.
func begun(path string, flags byte, then func(dst []byte, id uint32) []byte) func([]byte, int) ([]byte, int) {
	method := "GET"
	if flags&flagEndStream == 0 {
		method = "POST"
	}
	block := request(method, path)
	return func(dst []byte, n int) ([]byte, int) {
		dst = frame(dst, frameHeaders, flags|flagEndHeaders, stream(n), block...)
		return then(dst, stream(n)), 2
	}
}

// HTTP2 are the floods of frames.
func HTTP2() []*Attack {
	var all []*Attack
	for _, group := range [][]*Attack{resets(), fields(), controls(), bodies()} {
		all = append(all, group...)
	}
	for _, a := range all {
		a.HTTP2 = true
		if a.Open == nil {
			a.Open = preface()
		}
	}
	return all
}

// resets make the target begin work, and then take it back, or have it taken back.
func resets() []*Attack {
	return []*Attack{
		{
			Name:  "rapid reset (CVE-2023-44487)",
			Piece: begun(Slow, flagEndStream, func(dst []byte, id uint32) []byte { return number(dst, frameReset, id, Cancel) }),
			Want:  calm("reset_flood"),
		},
		{
			Name:  "made reset: window of 0 (CVE-2025-8671)",
			Piece: begun(Slow, flagEndStream, func(dst []byte, id uint32) []byte { return number(dst, frameWindowUpdate, id, 0) }),
			Want:  calm("error_flood"),
		},
		{
			Name:  "made reset: window too large",
			Piece: begun(Slow, flagEndStream, func(dst []byte, id uint32) []byte { return number(dst, frameWindowUpdate, id, math.MaxInt32) }),
			Want:  calm("error_flood"),
		},
		{
			Name:  "made reset: DATA after the end",
			Piece: begun(Slow, flagEndStream, func(dst []byte, id uint32) []byte { return frame(dst, frameData, 0, id, 'x') }),
			Want:  calm("error_flood"),
		},
		{
			Name:  "made reset: PRIORITY of a wrong length",
			Piece: begun(Slow, flagEndStream, func(dst []byte, id uint32) []byte { return frame(dst, framePriority, 0, id, 0, 0, 0, 0) }),
			Want:  calm("error_flood"),
		},
		{
			Name: "malformed requests",
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), literal(request("GET", Local), "connection", "close")...), 1
			},
			Want: calm("error_flood"),
		},
		{
			Name: "streams beyond the limit", Open: preface(setting(4, 0)...), // those within it stay open
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), request("GET", Held)...), 1
			},
			Want: calm("refused_flood"),
		},
		{
			Name: "streams beyond the limit, behind 100 at an endpoint",
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), request("GET", Slow)...), 1
			},
			Want: work(calm("refused_flood")),
		},
	}
}

// fields are floods of heads.
func fields() []*Attack {
	bomb := bombBlock()
	sizes := bytes.Repeat([]byte{0x20, 0x3f, 0xe1, 0x1f}, 3000) // none, and 4,096 bytes again
	many := request("GET", Local)
	for range 2000 {
		many = append(many, 0x90) // accept-encoding: gzip, deflate, by its number
	}
	huge := literal(request("GET", Local), "x", strings.Repeat("a", 15<<10))
	return []*Attack{
		{
			Name:  "CONTINUATION without end (CVE-2024-27316)",
			Open:  frame(preface(), frameHeaders, flagEndStream, 1, request("GET", Local)...),
			Piece: every(1, frame(nil, frameContinuation, 0, 1)),
			Want:  calm("continuation_flood"),
		},
		{
			Name:  "CONTINUATION of large frames",
			Open:  frame(preface(), frameHeaders, flagEndStream, 1, request("GET", Local)...),
			Piece: every(1, frame(nil, frameContinuation, 0, 1, bytes.Repeat([]byte{0x90}, 16<<10)...)),
			Want:  calm("block_too_large"),
		},
		{
			Name: "HPACK bomb",
			Piece: func(dst []byte, n int) ([]byte, int) {
				if n == 0 {
					return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), bomb.first...), 1
				}
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), bomb.again...), 1
			},
			Want: refused("head_too_large", "error_flood"),
		},
		{
			Name: "HPACK table turned over",
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), bomb.over...), 1
			},
			Want: calm("block_too_large"),
		},
		{
			Name: "HPACK table sizes",
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), append(sizes, request("GET", Local)...)...), 1
			},
			Want: Want{Ends: true, Code: CompressionError, Counter: refusal("bad_compression")},
		},
		{
			Name: "2,000 fields",
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), many...), 1
			},
			Want: refused("too_many_fields", "error_flood"),
		},
		{
			Name: "heads of 80 KiB",
			Piece: func(dst []byte, n int) ([]byte, int) {
				dst = frame(dst, frameHeaders, flagEndStream, stream(n), huge...)
				for range 3 {
					dst = frame(dst, frameContinuation, 0, stream(n), literal(nil, "y", strings.Repeat("b", 15<<10))...)
				}
				return frame(dst, frameContinuation, flagEndHeaders, stream(n), literal(nil, "y", strings.Repeat("b", 15<<10))...), 5
			},
			Want: refused("head_too_large", "head_flood"),
		},
	}
}

// bombBlocks are a field of 4,000 bytes that goes into the table, and then a block
// that names it 4,000 times in as many bytes; and a field whose name is as long, that
// goes there again and again by its number.
type bombBlocks struct{ first, again, over []byte }

func bombBlock() bombBlocks {
	insert := text(text([]byte{0x40}, "x"), strings.Repeat("a", 4000)) // RFC 7541 section 6.2.1
	names := bytes.Repeat([]byte{0x80 | 62}, 4000)                     // the newest entry
	base := request("GET", Local)
	wide := append(text([]byte{0x40}, strings.Repeat("a", 4000)), 0)
	over := append(append(bytes.Clone(base), wide...), bytes.Repeat([]byte{0x40 | 62, 0}, 6000)...)
	return bombBlocks{
		over:  over,
		first: append(append(bytes.Clone(base), insert...), names...),
		again: append(bytes.Clone(base), names...),
	}
}

// controls are floods of frames that carry no message.
func controls() []*Attack {
	open := preface(setting(4, 0)...)
	for n := range 90 {
		open = frame(open, frameHeaders, flagEndStream|flagEndHeaders, stream(n), request("GET", Held)...)
	}
	return []*Attack{
		{Name: "SETTINGS (CVE-2019-9515)", Piece: every(1, frame(nil, frameSettings, 0, 0)), Want: calm("settings_flood")},
		{Name: "SETTINGS of 2,700 parameters", Piece: every(1, frame(nil, frameSettings, 0, 0, bytes.Repeat(setting(0xff, 1), 2700)...)), Want: calm("settings_flood")},
		{
			Name: "SETTINGS that open 90 windows by a byte", Open: open,
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameSettings, 0, 0, setting(4, uint32(n+1))...), 1
			},
			Want: calm("settings_flood"),
		},
		{Name: "acknowledgements of SETTINGS", Piece: every(1, frame(nil, frameSettings, flagAck, 0)), Want: calm("settings_flood")},
		{Name: "PING (CVE-2019-9512)", Piece: every(1, frame(nil, framePing, 0, 0, make([]byte, 8)...)), Want: calm("ping_flood")},
		{Name: "acknowledgements of PING", Piece: every(1, frame(nil, framePing, flagAck, 0, make([]byte, 8)...)), Want: calm("ping_flood")},
		{Name: "PRIORITY (CVE-2019-9513)", Piece: func(dst []byte, n int) ([]byte, int) {
			return frame(dst, framePriority, 0, stream(n%1000), 0, 0, 0, 0, byte(n)), 1
		}, Want: calm("priority_flood")},
		{Name: "WINDOW_UPDATE of the connection", Piece: every(1, number(nil, frameWindowUpdate, 0, 1)), Want: calm("window_update_flood")},
		{
			Name: "WINDOW_UPDATE of a stream", Open: frame(preface(), frameHeaders, flagEndHeaders, 1, request("POST", Slow)...),
			Piece: every(1, number(nil, frameWindowUpdate, 1, 1)), Want: calm("window_update_flood"),
		},
		{
			Name:  "data dribble (CVE-2019-9511)",
			Open:  frame(preface(setting(4, 0)...), frameHeaders, flagEndStream|flagEndHeaders, 1, request("GET", Big)...),
			Piece: every(1, number(nil, frameWindowUpdate, 1, 1)), Want: calm("window_update_flood"),
		},
		{Name: "frames of an unknown type", Piece: every(1, frame(nil, 0xbb, 0xff, 7, 1, 2, 3)), Want: calm("unknown_frame_flood")},
		{Name: "GOAWAY", Piece: every(1, frame(nil, frameGoAway, 0, 0, make([]byte, 8)...)), Want: calm("settings_flood")},
	}
}

// bodies are floods of DATA.
func bodies() []*Attack {
	open := frame(preface(), frameHeaders, flagEndHeaders, 1, request("POST", Slow)...)
	padded := make([]byte, 256)
	padded[0] = 255
	return []*Attack{
		{Name: "empty DATA (CVE-2019-9518)", Open: open, Piece: every(1, frame(nil, frameData, 0, 1)), Want: calm("empty_data_flood")},
		{Name: "DATA of padding alone", Open: open, Piece: every(1, frame(nil, frameData, flagPadded, 1, padded...)), Want: calm("empty_data_flood")},
		{
			Name:  "DATA of streams that were reset",
			Open:  number(frame(preface(), frameHeaders, flagEndHeaders, 1, request("POST", Slow)...), frameWindowUpdate, 1, 0),
			Piece: every(1, frame(nil, frameData, 0, 1)), Want: calm("stray_frame_flood"),
		},
		{
			Name:  "DATA of 1 byte",
			Open:  frame(preface(), frameHeaders, flagEndHeaders, 1, request("POST", Big)...),
			Piece: every(1, frame(nil, frameData, 0, 1, 'x')), Want: Want{Code: NoCode, Work: true, Arrives: true},
		},
		{
			Name: "requests without reading (CVE-2019-9517)", Open: preface(setting(4, math.MaxInt32)...), Deaf: true,
			Piece: func(dst []byte, n int) ([]byte, int) {
				return frame(dst, frameHeaders, flagEndStream|flagEndHeaders, stream(n), request("GET", Big)...), 1
			},
			Want: Want{Code: NoCode, Work: true},
		},
	}
}

// SlowHTTP2 are clients that take their time. Their listener must have short
// timeouts.
func SlowHTTP2() []*Attack {
	post := frame(preface(), frameHeaders, flagEndHeaders, 1, request("POST", Slow)...)
	slow := []*Attack{
		{
			Name: "HTTP/2: slow head", Open: frame(preface(), frameHeaders, flagEndStream, 1, request("GET", Local)...),
			Every: 100 * time.Millisecond, Piece: everyFew(14, 1, frame(nil, frameContinuation, 0, 1)),
			Want: Want{Ends: true, Code: EnhanceYourCalm, Counter: refusal("slow_head")},
		},
		{
			Name: "HTTP/2: half a preface", Open: []byte("PRI * HTTP/2.0\r\n"), Every: time.Hour, Piece: every(1, nil),
			Want: Want{Ends: true, Code: NoCode, Counter: answered("request_head_timeout")},
		},
		{
			Name: "HTTP/2: nothing after the preface", Open: []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Every: time.Hour, Piece: every(1, nil),
			Want: Want{Ends: true, Code: EnhanceYourCalm, Counter: refusal("slow_head")},
		},
		{
			Name: "HTTP/2: slow body", Open: post, Every: time.Hour, Piece: every(1, nil),
			Want: Want{Code: NoCode, Resets: true, Reset: NoError, Counter: answered("request_body_timeout")},
		},
		{
			Name:  "HTTP/2: windows that stay closed",
			Open:  frame(preface(setting(4, 0)...), frameHeaders, flagEndStream|flagEndHeaders, 1, request("GET", Big)...),
			Every: time.Hour, Piece: every(1, nil),
			Want: Want{Code: NoCode, Resets: true, Reset: EnhanceYourCalm, Counter: refusal("slow_reader")},
		},
	}
	for _, a := range slow {
		a.HTTP2 = true
	}
	return slow
}

// everyFew sends a piece so many times, and then waits for the end.
func everyFew(times, frames int, piece []byte) func([]byte, int) ([]byte, int) {
	return func(dst []byte, n int) ([]byte, int) {
		if n < times {
			return append(dst, piece...), frames
		}
		return dst, 1
	}
}
