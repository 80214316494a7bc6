package http1test

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// normalCases are about the normal form of a path: requests that the codec
// reads, and what the path of the target is for routes, logs and upstreams.
func normalCases() []Case {
	var cases []Case
	add := func(o message.PathOptions, section, raw, path string, problem message.PathProblem) {
		c := accept("path "+raw, section, request(raw), msg("GET "+raw, ""))
		if o.MergeSlashes {
			c.Name += " with slashes merged"
		}
		if o.RejectEscapedSlashes {
			c.Name += " with escaped slashes rejected"
		}
		c.Path, c.Problem, c.Options = path, problem, o
		cases = append(cases, c)
	}
	var plain message.PathOptions
	for _, row := range [][3]string{
		{"9110 4.2.3", "/", "/"},
		{"9110 4.2.3", "/a/b.html", "/a/b.html"},
		{"9110 4.2.3", "/a/b/", "/a/b/"},
		{"3986 3.3", "/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"},
		{"3986 6.2.2.2", "/%41%7a%30%2D%2e%5f%7E", "/Az0-._~"},
		{"3986 6.2.2.2", "/%61dmin", "/admin"},
		{"3986 6.2.2.1", "/caf%c3%a9", "/caf%C3%A9"},
		{"3986 6.2.2.1", "/%3a%3A", "/%3A%3A"},
		{"3986 2.2", "/%21!%40@", "/%21!%40@"},
		{"3986 2.4", "/%2561", "/%2561"},
		{"3986 2.4", "/%252e%252e/a", "/%252e%252e/a"},
		{"3986 2.1", "/%20%09%7f%01", "/%20%09%7F%01"},
		{"3986 2.1", "/a|b", "/a%7Cb"},
		{"3986 2.1", "/\"<>^`{|}[]", "/%22%3C%3E%5E%60%7B%7C%7D%5B%5D"},
		{"3986 5.2.4", "/.", "/"},
		{"3986 5.2.4", "/./", "/"},
		{"3986 5.2.4", "/a/.", "/a/"},
		{"3986 5.2.4", "/a/./b", "/a/b"},
		{"3986 5.2.4", "/a/..", "/"},
		{"3986 5.2.4", "/a/../", "/"},
		{"3986 5.2.4", "/a/../b", "/b"},
		{"3986 5.2.4", "/a/b/..", "/a/"},
		{"3986 5.2.4", "/a/b/../../c", "/c"},
		{"3986 5.2.4", "/a/b/c/./../../g", "/a/g"},
		{"3986 5.2.4", "/..", "/"},
		{"3986 5.2.4", "/../../a", "/a"},
		{"3986 5.2.4", "/a/../../b", "/b"},
		{"3986 5.2.4", "/a/%2e", "/a/"},
		{"3986 5.2.4", "/a/%2e%2e/b", "/b"},
		{"3986 5.2.4", "/a/.%2E/b", "/b"},
		{"3986 5.2.4", "/a/%2e./b", "/b"},
		{"3986 5.2.4", "/%2e%2e/%2e%2e/etc", "/etc"},
		{"3986 5.2.4", "/a//../b", "/a/b"},
		{"3986 5.2.4", "//../a", "/a"},
		{"3986 5.2.4", "/...", "/..."},
		{"3986 5.2.4", "/.a/..b/c./d..", "/.a/..b/c./d.."},
		{"3986 5.2.4", "/.well-known/acme", "/.well-known/acme"},
		{"3986 3.3", "/a/..;/b", "/a/..;/b"},
		{"3986 3.3", "//", "//"},
		{"3986 3.3", "//a///b//", "//a///b//"},
		{"design 2", "/a%2fb", "/a%2Fb"},
		{"design 2", "/a%2F..%2Fb", "/a%2F..%2Fb"},
		{"design 2", "/a/..%2fb", "/a/..%2Fb"},
		{"design 2", "/a%5cb", "/a%5Cb"},
		{"design 2", "/a/..%5c../b", "/a/..%5C../b"},
		{"3986 3.4", "/a/../b?c/../d", "/b"},
		{"3986 3.4", "/a?%zz%00", "/a"},
	} {
		add(plain, row[0], row[1], row[2], message.PathOK)
	}
	merge := message.PathOptions{MergeSlashes: true}
	for _, row := range [][2]string{
		{"/", "/"}, {"//", "/"}, {"///a", "/a"}, {"/a//b///c//", "/a/b/c/"}, {"/a//../b", "/b"}, {"/a/.//b", "/a/b"}, {"/a%2f/b", "/a%2F/b"}, {"//..//a", "/a"},
	} {
		add(merge, "design 2", row[0], row[1], message.PathOK)
	}
	strict := message.PathOptions{RejectEscapedSlashes: true}
	for _, raw := range []string{"/a%2fb", "/a%2Fb", "/%2f", "/a%5cb", "/..%5C.."} {
		add(strict, "design 2", raw, "", message.PathEscapedSlash)
	}
	add(strict, "design 2", "/a%252fb", "/a%252fb", message.PathOK)
	for _, raw := range []string{"/%", "/%4", "/%4g", "/%g4", "/a%", "/%%41", "/%u0041", "/a/../%zz"} {
		add(plain, "3986 2.1", raw, "", message.PathBadEscape)
	}
	for _, raw := range []string{"/%00", "/a%00b", "/a/%00/../b"} {
		add(plain, "design 2", raw, "", message.PathNUL)
	}
	for _, raw := range []string{"/\\", "/a\\b", "/\\..\\a"} {
		add(plain, "design 2", raw, "", message.PathBackslash)
	}
	return cases
}
