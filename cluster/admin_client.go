package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// AdminClient calls the administrators' HTTP API.
type AdminClient struct {
	Address string // host:port
	Token   string
	HTTP    *http.Client // nil: http.DefaultClient
}

// Call sends a request, with body as JSON unless it is nil, and reads the answer into out unless that is nil. An error
// says what the API says.
func (c *AdminClient) Call(ctx context.Context, method, path string, body, out any) error {
	var text io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, text)
	if err != nil {
		return fmt.Errorf("call the admin API: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("call the admin API: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // what was read is checked
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("answer of the admin API: %w", err)
	}
	if answer.StatusCode/100 != 2 {
		return adminAnswer(answer, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("answer of the admin API: %w", err)
	}
	return nil
}

// adminAnswer is the error that an answer tells of.
func adminAnswer(answer *http.Response, b []byte) error {
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
		text := strings.TrimSpace(string(b[:min(len(b), 200)]))
		return fmt.Errorf("the admin API answers %s: %s", answer.Status, text)
	}
	for _, e := range problem.Errors {
		problem.Detail += "; " + strings.TrimSpace(e.Location+" "+e.Message)
	}
	return errors.New(problem.Detail)
}

// Status is the whole cluster.
func (c *AdminClient) Status(ctx context.Context) (r Report, err error) {
	err = c.Call(ctx, http.MethodGet, "/v1/status", nil, &r)
	return r, err
}

// NodePath is the path of a node in the API.
func NodePath(node, rest string) string { return "/v1/nodes/" + url.PathEscape(node) + rest }
