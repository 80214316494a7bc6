package controlplanetest

import (
	"encoding/json"
	"net/http"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// SetExplain has answers to what is to be explained made by f.
func (s *Server) SetExplain(f func(api.ExplainRequest) ([]api.ExplainedListener, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.explainer = f
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	var request api.ExplainRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return api.NewError(api.TypeMalformed, "body: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := api.Explanation{Version: s.head().entry.Version, Listeners: []api.ExplainedListener{}}
	if s.explainer != nil {
		listeners, err := s.explainer(request)
		if err != nil {
			return err
		}
		e.Listeners = listeners
	}
	return writeJSON(w, http.StatusOK, "", e)
}
