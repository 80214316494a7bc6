package rest

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestAcceptChoosesTheForm(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string // "" is refused
	}{
		{nil, "application/json"},
		{[]string{"*/*"}, "application/json"},
		{[]string{"application/json"}, "application/json"},
		{[]string{"application/yaml"}, "application/yaml"},
		{[]string{"text/yaml"}, "application/yaml"},
		{[]string{"APPLICATION/YAML"}, "application/yaml"},
		{[]string{"application/*"}, "application/json"},
		{[]string{"application/yaml, */*;q=0.1"}, "application/yaml"},
		{[]string{"application/yaml;q=0.5, application/json;q=0.4"}, "application/yaml"},
		{[]string{"application/json;q=0, */*"}, "application/yaml"},
		{[]string{"text/html", "application/yaml"}, "application/yaml"},
		{[]string{"text/html"}, ""},
		{[]string{"application/json;q=0"}, ""},
		{[]string{"application/json;q=nonsense"}, ""},
		{[]string{"garbage;;;"}, ""},
	} {
		form, err := resourceForm(c.accept)
		got := form.contentType()
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("accept %q: got %q (%v), want %q", c.accept, got, err, c.want)
		}
	}
}

func TestBodiesThatABrowserSendsUnaskedAreRefused(t *testing.T) {
	for _, c := range []struct {
		contentType string
		ok          bool
	}{
		{"application/json", true},
		{"application/json; charset=UTF-8", true},
		{"application/yaml", true},
		{"text/yaml", true},
		{"application/x-yaml", true},
		{"application/json; charset=latin1", false},
		{"", false},
		{"text/plain", false},
		{"application/x-www-form-urlencoded", false},
		{"multipart/form-data; boundary=x", false},
	} {
		if _, err := bodyForm(c.contentType); (err == nil) != c.ok {
			t.Errorf("content type %q: got %v", c.contentType, err)
		}
	}
}

func TestTagsAreComparedStrongly(t *testing.T) {
	leaf := tree.Leaf{Hash: tree.Sum([]byte("x"))}
	hash := leaf.Hash.String()
	for _, c := range []struct {
		fields             []string
		readable           bool
		seven, leaf, ghost bool
	}{
		{nil, true, true, true, true},
		{[]string{`"7"`}, true, true, false, false},
		{[]string{`7`}, true, true, false, false},
		{[]string{`"6", "7"`}, true, true, false, false},
		{[]string{`"6"`, `"7"`}, true, true, false, false},
		{[]string{`W/"7"`}, true, false, false, false},
		{[]string{`"07"`}, true, false, false, false},
		{[]string{`*`}, true, true, true, false},
		{[]string{`"` + hash + `"`}, true, false, true, false},
		{[]string{hash}, true, false, true, false},
		{[]string{`"`}, false, false, false, false},
		{[]string{`"a`}, false, false, false, false},
		{[]string{``}, false, false, false, false},
	} {
		got, err := readTags(c.fields)
		if (err == nil) != c.readable {
			t.Errorf("%q: got error %v", c.fields, err)
			continue
		}
		if err != nil {
			continue
		}
		if got.holds(`"7"`) != c.seven || got.holdsLeaf(leaf, true) != c.leaf || got.holdsLeaf(tree.Leaf{}, false) != c.ghost {
			t.Errorf("%q: tag 7 %v, leaf %v, missing %v", c.fields, got.holds(`"7"`), got.holdsLeaf(leaf, true), got.holdsLeaf(tree.Leaf{}, false))
		}
	}
}
