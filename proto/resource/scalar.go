package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Single values: from a node to what the schema holds, and back to text.

// scalar reads one value of a field (or of its list). It tells what is wrong.
func (d *decoder) scalar(f *fieldSchema, n *node) (protoreflect.Value, bool) {
	var v protoreflect.Value
	near, ok := "", false
	switch f.kind {
	case protoreflect.StringKind:
		return d.text(f, n)
	case protoreflect.BoolKind:
		v, near, ok = readBool(n)
	case protoreflect.EnumKind:
		v, near, ok = readEnum(f, n)
	case protoreflect.DoubleKind:
		v, near, ok = readDouble(f, n)
	default:
		v, near, ok = readInteger(f, n)
	}
	if !ok {
		d.tell(n.line, n.describe(), f.expects(), near)
	}
	return v, ok
}

// text reads a string. A number or a boolean without quotes is none: whether
// 1.10 means "1.10" or "1.1" is not for a decoder to guess.
func (d *decoder) text(f *fieldSchema, n *node) (protoreflect.Value, bool) {
	if n.isString() {
		return protoreflect.ValueOfString(n.text), true
	}
	if f.secret {
		d.tell(n.line, "no text", f.expects(), "")
		return protoreflect.Value{}, false
	}
	near := n.inQuotes()
	if n.kind == nodeBool || n.kind == nodeInt || n.kind == nodeFloat {
		near = quote(n.text)
		if bad := checkFormat(f.format, n.text); bad != nil {
			near = bad.suggestion
		}
	}
	d.tell(n.line, n.describe(), f.expects(), near)
	return protoreflect.Value{}, false
}

func readBool(n *node) (v protoreflect.Value, near string, ok bool) {
	text := strings.ToLower(n.text)
	if n.kind == nodeBool {
		return protoreflect.ValueOfBool(text == "true"), "", true
	}
	switch text {
	case "yes", "y", "on", "1", "true", "enabled":
		near = "true"
	case "no", "n", "off", "0", "false", "disabled":
		near = "false"
	}
	return v, near, false
}

func readEnum(f *fieldSchema, n *node) (v protoreflect.Value, near string, ok bool) {
	var usable, all []string
	for _, value := range f.enum.values {
		name := string(value.Name())
		if n.isString() && n.text == name {
			return protoreflect.ValueOfEnum(value.Number()), "", true
		}
		all = append(all, name)
		if f.enum.supported[value.Number()] {
			usable = append(usable, name)
		}
	}
	if near = enumHint(string(f.desc.Enum().Name()), n.text); near != "" && f.desc.Enum().Values().ByName(protoreflect.Name(near)) == nil {
		near = ""
	}
	if near == "" {
		near = Nearest(n.text, usable)
	}
	if near == "" {
		near = Nearest(n.text, all)
	}
	return v, near, false
}

func readDouble(f *fieldSchema, n *node) (v protoreflect.Value, near string, ok bool) {
	number := n.kind == nodeInt || n.kind == nodeFloat
	if f.format == fleetv1.Format_PERCENT {
		percent, near, ok := parsePercent(n.text)
		return protoreflect.ValueOfFloat64(percent), near, ok && n.isString()
	}
	x, err := strconv.ParseFloat(n.text, 64)
	switch {
	case err != nil || math.IsInf(x, 0) || math.IsNaN(x):
		return v, "", false
	case !number:
		return v, n.text, false
	}
	return protoreflect.ValueOfFloat64(x), "", true
}

func readInteger(f *fieldSchema, n *node) (v protoreflect.Value, near string, ok bool) {
	switch f.format {
	case fleetv1.Format_DURATION:
		ns, near, ok := parseDuration(n.text)
		return protoreflect.ValueOfInt64(ns), near, ok && n.isString()
	case fleetv1.Format_SIZE:
		bytes, near, ok := parseSize(n.text)
		return protoreflect.ValueOfUint64(bytes), near, ok && (n.isString() || n.kind == nodeInt)
	}
	v, ok = parseInteger(f.kind, n.text)
	if n.kind == nodeInt {
		return v, "", ok
	}
	// YAML 1.1 has 8_080.
	meant := strings.ReplaceAll(strings.TrimSpace(n.text), "_", "")
	if n.kind == nodeString && leadingZero(meant) { // octal, by the same
		meant = strings.TrimLeft(meant, "0")
	}
	if x, err := strconv.ParseFloat(meant, 64); n.kind == nodeFloat && err == nil && x == math.Trunc(x) {
		return v, strconv.FormatFloat(x, 'f', 0, 64), false
	}
	if _, isNumber := parseInteger(f.kind, meant); isNumber && (n.kind == nodeQuoted || n.kind == nodeString && len(meant) < len(n.text)) {
		near = meant
	}
	return v, near, false
}

// parseInteger reads decimal, 0x and 0o, if it fits into the field.
func parseInteger(kind protoreflect.Kind, text string) (v protoreflect.Value, ok bool) {
	text = strings.TrimPrefix(text, "+")
	base := 10
	if hexShape.MatchString(text) {
		base = 0
	}
	switch kind {
	case protoreflect.Uint32Kind:
		x, err := strconv.ParseUint(text, base, 32)
		return protoreflect.ValueOfUint32(uint32(x)), err == nil
	case protoreflect.Uint64Kind:
		x, err := strconv.ParseUint(text, base, 64)
		return protoreflect.ValueOfUint64(x), err == nil
	case protoreflect.Int32Kind:
		x, err := strconv.ParseInt(text, base, 32)
		return protoreflect.ValueOfInt32(int32(x)), err == nil
	default:
		x, err := strconv.ParseInt(text, base, 64)
		return protoreflect.ValueOfInt64(x), err == nil
	}
}

// expects says what a value of the field should be.
func (f *fieldSchema) expects() string {
	switch {
	case f.dict && f.format == fleetv1.Format_FORMAT_UNSPECIFIED:
		return "a string"
	case f.ref != "":
		return "the name of " + article(f.ref)
	case f.format == fleetv1.Format_DURATION, f.format == fleetv1.Format_SIZE, f.format == fleetv1.Format_PERCENT:
		return describeFormat(f.format) + f.bounds()
	case f.format != fleetv1.Format_FORMAT_UNSPECIFIED:
		return describeFormat(f.format)
	}
	switch f.kind {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "one of " + strings.Join(f.enum.names(), ", ")
	case protoreflect.DoubleKind:
		return "a number" + f.bounds()
	case protoreflect.StringKind:
		return "a string"
	default:
		return "a whole number" + f.bounds()
	}
}

// names lists the values that may be used: the supported ones, if there are any.
func (e *enumSchema) names() []string {
	var all, supported []string
	for _, v := range e.values {
		all = append(all, string(v.Name()))
		if e.supported[v.Number()] {
			supported = append(supported, string(v.Name()))
		}
	}
	if len(supported) > 0 {
		return supported
	}
	return all
}

// bounds is " from 1 to 65535", as far as the field has bounds.
func (f *fieldSchema) bounds() string {
	switch {
	case f.min != nil && f.max != nil:
		return fmt.Sprintf(" from %s to %s", f.boundText(*f.min), f.boundText(*f.max))
	case f.min != nil:
		return " of at least " + f.boundText(*f.min)
	case f.max != nil && f.kind != protoreflect.Int32Kind && f.kind != protoreflect.Int64Kind:
		return fmt.Sprintf(" from %s to %s", f.boundText(0), f.boundText(*f.max))
	case f.kind == protoreflect.Uint32Kind && f.max == nil:
		return " from 0 to 4294967295"
	}
	return ""
}

func (f *fieldSchema) boundText(b int64) string {
	switch f.format {
	case fleetv1.Format_DURATION:
		return formatDuration(b)
	case fleetv1.Format_SIZE:
		return formatSize(uint64(b))
	case fleetv1.Format_PERCENT:
		return formatPercent(float64(b))
	default:
		return strconv.FormatInt(b, 10)
	}
}

// formatScalar is the text of a value; bare if text formats may leave the quotes
// out because it is a number or a boolean.
func (f *fieldSchema) formatScalar(v protoreflect.Value) (text string, bare bool) {
	switch f.kind {
	case protoreflect.StringKind:
		return v.String(), false
	case protoreflect.BoolKind:
		return strconv.FormatBool(v.Bool()), true
	case protoreflect.EnumKind:
		if e := f.desc.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name()), false
		}
		return strconv.Itoa(int(v.Enum())), false
	case protoreflect.DoubleKind:
		if f.format == fleetv1.Format_PERCENT {
			return formatPercent(v.Float()), false
		}
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		if f.format == fleetv1.Format_SIZE {
			return formatSize(v.Uint()), false
		}
		return strconv.FormatUint(v.Uint(), 10), true
	default:
		if f.format == fleetv1.Format_DURATION {
			return formatDuration(v.Int()), false
		}
		return strconv.FormatInt(v.Int(), 10), true
	}
}
