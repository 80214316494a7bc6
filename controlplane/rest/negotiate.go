package rest

import (
	"mime"
	"strconv"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// form is the text form of a resource in a body or an answer.
type form uint8

const (
	formJSON form = iota
	formYAML
)

func (f form) contentType() string {
	if f == formYAML {
		return api.MediaYAML
	}
	return api.MediaJSON
}

// bodyForm reads a Content-Type.
func bodyForm(contentType string) (form, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil {
		if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return 0, api.NewError(api.TypeMediaType, "charset %q: expected utf-8", charset)
		}
		switch media {
		case api.MediaJSON:
			return formJSON, nil
		case api.MediaYAML, "text/yaml", "application/x-yaml", "text/x-yaml":
			return formYAML, nil
		}
	}
	return 0, api.NewError(api.TypeMediaType, "content type %q: expected %s or %s", contentType, api.MediaYAML, api.MediaJSON)
}

// resourceForm chooses JSON or YAML by the Accept fields (RFC 9110 section
// 12.5.1). JSON wins when both are equally welcome.
func resourceForm(accept []string) (form, error) {
	asJSON := quality(accept, "application", "json")
	asYAML := max(quality(accept, "application", "yaml"), quality(accept, "text", "yaml"))
	switch {
	case asJSON <= 0 && asYAML <= 0:
		return 0, api.NewError(api.TypeAcceptable, "accept %q: expected %s or %s", strings.Join(accept, ", "), api.MediaJSON, api.MediaYAML)
	case asYAML > asJSON:
		return formYAML, nil
	default:
		return formJSON, nil
	}
}

// quality is the weight that Accept fields give to a media type; the most
// specific range decides. No field at all accepts everything.
func quality(accept []string, major, minor string) float64 {
	if len(accept) == 0 {
		return 1
	}
	best, weight := -1, 0.0
	for _, field := range accept {
		for item := range strings.SplitSeq(field, ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(item))
			if err != nil {
				continue
			}
			specific := -1
			switch media {
			case major + "/" + minor:
				specific = 2
			case major + "/*":
				specific = 1
			case "*/*":
				specific = 0
			}
			if specific <= best {
				continue
			}
			best, weight = specific, 1
			if q, ok := params["q"]; ok {
				parsed, err := strconv.ParseFloat(q, 64)
				if err != nil || parsed < 0 || parsed > 1 {
					parsed = 0
				}
				weight = parsed
			}
		}
	}
	return weight
}
