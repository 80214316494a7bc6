package stream

import (
	"google.golang.org/grpc/encoding"
	// Its init registers the codec that codec wraps.
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// prepared is a ServerMessage that is encoded already. Any number of streams may
// send it at once; nobody changes the bytes.
type prepared []byte

// codec is gRPC's protobuf codec that also sends what is prepared, as it is.
// (grpc.PreparedMsg does the same but is bound to the codec of one stream.)
type codec struct{}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if p, ok := v.(prepared); ok {
		// A SliceBuffer is not pooled: references are the garbage collector's.
		return mem.BufferSlice{mem.SliceBuffer(p)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}

func (codec) Name() string { return "proto" }
