package resource

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// oddStrings are what quoting must get right.
var oddStrings = []string{
	"", " ", "a", "-", "- a", "a: b", "a:", ":", "#", "a #b", "null", "~", "true", "yes", "on", "1", "1.10", "0x1f", "1e3", "007",
	"12:30", "2026-01-01", "1_000", ".inf", "[a]", "{a}", "*a", "&a", "!a", "|", ">", "%a", "@a", "`", "'", `"`, `\`, `\n`, "a\nb", "a\nb\n",
	"a\n\nb\n", "a\n", "\n", "\na\n", " a\nb\n", "a \nb\n", "a\n b\n", "a\nb\n\n", "\ta", "a\tb\nc\n", "a\r\nb", "\x00", "\x1b", "\x7f", "é", "日本", "😀",
	"\u0085", "\u2028", "\ufeff", "\ufffd", "---", "--- a", "...", "a\n---\nb\n", "a\n...\n", "# a\nb\n", "? a", "<<", "=", "1s", "1m30s", "64KiB", "5%", "10/s",
	"10.0.0.1:80", "[::1]:80", "::1", "2001:db8::", "vip/a", "unix:/a", "NODE", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
}

// anyResource draws a resource that has a text form. Its values fit the types of
// the schema and are mostly no good otherwise: printing does not depend on that.
func anyResource(t *rapid.T) *fleetv1.Resource {
	kind := rapid.SampledFrom(Kinds()).Draw(t, "kind").Kind
	r := &fleetv1.Resource{Kind: proto.String(kind)}
	if rapid.Bool().Draw(t, "named") {
		r.Name = proto.String(anyString(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "labels") {
		if r.Labels == nil {
			r.Labels = map[string]string{}
		}
		r.Labels[anyString(t)] = anyString(t)
	}
	spec := fleetSchema.kinds[kind]
	fill(t, spec.message, r.ProtoReflect().Mutable(spec.desc).Message())
	return r
}

func anyString(t *rapid.T) string {
	if rapid.Bool().Draw(t, "odd") {
		return rapid.SampledFrom(oddStrings).Draw(t, "string")
	}
	return rapid.String().Draw(t, "string")
}

func fill(t *rapid.T, ms *messageSchema, m protoreflect.Message) {
	for _, f := range ms.fields {
		if f.secret || rapid.IntRange(0, 2).Draw(t, f.name) > 0 {
			continue
		}
		n := rapid.IntRange(1, 3).Draw(t, "elements")
		switch {
		case f.rate:
			m.Set(f.desc, protoreflect.ValueOfMessage(anyRate(t).ProtoReflect()))
		case f.dict:
			for range n {
				m.Mutable(f.desc).Map().Set(protoreflect.ValueOfString(anyString(t)).MapKey(), protoreflect.ValueOfString(anyString(t)))
			}
		case f.list && f.message != nil:
			for range n {
				fill(t, f.message, m.Mutable(f.desc).List().AppendMutable().Message())
			}
		case f.list:
			for range n {
				m.Mutable(f.desc).List().Append(anyValue(t, f))
			}
		case f.message != nil:
			fill(t, f.message, m.Mutable(f.desc).Message())
		default:
			m.Set(f.desc, anyValue(t, f))
		}
	}
}

func anyRate(t *rapid.T) *fleetv1.Rate {
	return &fleetv1.Rate{
		Count: proto.Uint64(rapid.Uint64().Draw(t, "count")),
		Per:   proto.Int64(rapid.SampledFrom(rateUnits[:]).Draw(t, "per").per),
	}
}

func anyValue(t *rapid.T, f *fieldSchema) protoreflect.Value {
	switch f.kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(anyString(t))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, f.name))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(rapid.SampledFrom(f.enum.values).Draw(t, f.name).Number())
	case protoreflect.DoubleKind:
		x := rapid.Float64().Draw(t, f.name)
		if f.format == fleetv1.Format_PERCENT {
			x = rapid.Float64Range(0, 1e9).Draw(t, f.name)
		}
		return protoreflect.ValueOfFloat64(x)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, f.name))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, f.name))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, f.name))
	default:
		if f.format == fleetv1.Format_DURATION {
			return protoreflect.ValueOfInt64(rapid.Int64Range(0, 1<<62).Draw(t, f.name))
		}
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, f.name))
	}
}

func TestTextFormReadsBackAsTheSameResource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyResource(t)
		want, err := Canonical(r)
		if err != nil {
			t.Skip(err)
		}
		for _, form := range []struct {
			name   string
			append func([]byte, *fleetv1.Resource) ([]byte, error)
		}{{"YAML", AppendYAML}, {"JSON", AppendJSON}} {
			text, err := form.append([]byte("before"), r)
			if err != nil {
				t.Fatalf("%s: %v", form.name, err)
			}
			text = bytes.TrimPrefix(text, []byte("before"))
			docs, problems := Decode(text, DecodeOptions{FilesAllowed: true})
			if len(docs) != 1 || docs[0].Resource == nil {
				t.Fatalf("%s: %d documents, problems %v, of:\n%s", form.name, len(docs), problems, text)
			}
			got, err := Canonical(docs[0].Resource)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: (-want +got):\n%s\nproblems %v, of:\n%s", form.name,
					cmp.Diff(r, docs[0].Resource, protocmp.Transform()), problems, text)
			}
		}
	})
}

func TestCanonicalBytesParseBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyResource(t)
		b, err := Canonical(r)
		if err != nil {
			t.Skip(err)
		}
		back, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(r, back) {
			t.Fatal(cmp.Diff(r, back, protocmp.Transform()))
		}
		again, err := Canonical(proto.CloneOf(back))
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("canonical bytes change: %x, then %x (%v)", b, again, err)
		}
	})
}
