package controlplanetest

import (
	"net/http"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// SetVIPs replaces how the virtual IPs stand, and tells the event streams.
func (s *Server) SetVIPs(vips ...api.VIPStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vips = vips
	for _, n := range s.nodes {
		s.tell(api.Event{Type: api.EventNodeAcked, Node: &n})
	}
}

func (s *Server) listVIPs(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeJSON(w, http.StatusOK, "", api.VIPList{Items: append([]api.VIPStatus{}, s.vips...)})
}

func (s *Server) getVIP(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.vips {
		if v.Name == r.PathValue("name") {
			return writeJSON(w, http.StatusOK, "", v)
		}
	}
	return api.NewError(api.TypeNotFound, "VirtualIP/%s: there is none", r.PathValue("name"))
}
